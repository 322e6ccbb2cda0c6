"""The clients of the API, and what is built on them: finding the server, following a run, holding on to one.

Import what you need from its module: `client.locate` (`connect`), `client.synchronous` (`Client`),
`client.asynchronous` (`AsyncClient`), `client.follow`, `client.handle`.
"""
