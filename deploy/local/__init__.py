"""The one-command stack: private servers, gateway and scaler on this machine.

`python -m deploy.local up|down|clean|status|env`, and the same servers as a library for the tests
(`PrivateServers`). No business of the service may enter: it is started here, never imported.
"""
