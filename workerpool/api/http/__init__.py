"""The HTTP face: JSON in camelCase, problem details for every error, OpenAPI at ``/openapi.json``.

Owns: paths, models, who may come in. Does not own: what a verb does or refuses (``service``). Sources: RFC 9110, RFC
9457, RFC 6750.
"""
