"""What goes over the wire: camelCase, and snake_case is understood on its way in.

Owns: names and limits of fields. Invariant: a model that was read holds nothing that the queue cannot (the rest is
asked of ``store.asked``).
"""
