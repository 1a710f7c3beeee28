"""The path of one command and of one webhook through the files of the bridge: `make path`.

`traced` runs `bridge up` with a tracer inside; `tracer` keeps the calls, `window` says when, `calls` counts them.
"""
