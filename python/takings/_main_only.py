"""Refuses to be imported in a subinterpreter, before the compiled half is loaded.

That half lives in the main interpreter. CPython from 3.12 on refuses to load it in another; 3.10
and 3.11 would, and would then break it in the main one.
"""

for _name in ("_interpreters", "_xxsubinterpreters"):
    try:
        _interpreters = __import__(_name)
    except ImportError:
        continue
    if _interpreters.get_current() != _interpreters.get_main():
        raise ImportError(
            "takings works in the main interpreter only, and this is a subinterpreter; "
            "under mod_wsgi, set WSGIApplicationGroup %{GLOBAL}"
        )
    break
