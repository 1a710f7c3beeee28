"""An HTTP/1.1 server for a few trusted applications, with limits on heads, bodies, time, connections and writes.

    server       listens, in a separate thread, and stops gracefully
    acceptor     accepts connections
    tls          certificates and handshakes
    registry     all connections: their limits and deadlines
    connection   one connection; its states are in `state`
    parser       bytes in, requests out
    pipeline     pipelined bytes and requests
    transport    the socket's side: unread responses, closing, raw bytes
    response     responses, ready to be written
    application  the interface of applications

It is independent of its applications: webhooks, commands, metrics and the provider's simulator.
"""
