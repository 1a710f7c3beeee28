"""An HTTP/1.1 server for a few trusted applications: bounded in heads, bodies, time, connections and unread answers.

    server       listens, in a thread of its own, and stops in good order
    acceptor     takes connections off the listening socket
    tls          certificates and handshakes
    registry     all connections: their limits and deadlines
    connection   one connection; its states are in `state`
    parser       bytes in, requests out
    pipelining   bytes and requests that came ahead of their turn
    transport    the socket's side: unread answers, closing, raw bytes
    response     responses, ready to be written
    application  what answers requests

It knows nothing of what is served: webhooks, commands, metrics and the provider's simulator are applications of it.
"""
