"""The engine: algorithms run here, in a process of their own under the model's own interpreter.

Two sides share this folder. The parent's (`host`, `process`, `launch`, `output`, `calls`) starts the process
and speaks to it; it may import `shared`. Everything else runs inside the engine process and imports the
standard library, the model's own packages and its neighbours here, nothing more: no driver, no setting, no
credential.
"""
