"""The dashboard: one page, and one of each revision and item, rendered here and kept live by server-sent events.

Owns: what people see and may press. Does not own: what a press does (``service``), or who may (``http.guard``).
Invariant: whatever comes from the database is text on a page, never a part of it; reading changes nothing.
"""
