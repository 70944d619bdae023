from urllib.parse import parse_qs

from work import threaded


def app(environ, start_response):
    name = parse_qs(environ.get("QUERY_STRING", "")).get("id", ["none"])[0]
    body = threaded(name) if name != "none" else b"fine"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
