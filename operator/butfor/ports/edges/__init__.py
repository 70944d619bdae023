"""A recording reverse proxy for one HTTP service: passes every byte on, and writes down what passed.

Standard library only and importing only its neighbours, because the folder also runs as a program inside a sandbox:
`python FOLDER --listen HOST:PORT --target HOST:PORT --spool DIR --service NAME [--payload-limit N] [--wait S]`.
Nothing is retried, waited for or rewritten but the request's `traceparent`; FIN and RST of either side are
passed on as FIN and RST. What it writes is the spool: `open-*`, `spans-*`, `payloads-*`, `bodies/`.
Uploads are buffered here up to `UPLOAD_BUFFER` so that a client that gives up is seen when it does.
"""
