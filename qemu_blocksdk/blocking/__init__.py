"""The same objects as in ``aio``, for callers that do not use asyncio.

``objects.py`` is generated from the async classes by this package's ``__main__``.
"""
