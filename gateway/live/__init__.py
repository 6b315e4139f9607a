"""What the dashboard sees change, looked for once however many pages are open, and only while one is.

A *source* reads one topic's rows as they are now. The *hub* asks it for as long as a *viewer* (a socket)
wants the topic, never for more than a tenth of the time. A viewer keeps the latest of each row and hands out
what differs from what it handed out before: a slow page skips states, and misses none that lasts.
"""
