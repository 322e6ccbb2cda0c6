"""The API, by real requests to a real server."""
