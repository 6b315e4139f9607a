"""How an attempt ended, told by what became of its job: one that failed and is run again is `retried`.

SQL for statements that count attempts; nothing here runs by itself.
"""

from __future__ import annotations

# The row of a lease that ran out does not say whether the job went back into its queue. It did not where
# the job is over under the fence that the lapse left behind. A job is looked up for such attempts alone, by
# its key: a scalar subquery is never turned into a look at all jobs. Whoever uses it more than once makes it
# a column of something materialized, or of a subquery with a limit: it would be worked out each time.
ENDING = """case a.outcome when 'waiting' then 'retried' when 'worker_lost' then coalesce(
    (select case when j.fence = a.fence + 1 and j.state in ('failed', 'canceled') then j.state end
     from jobs j where j.id = a.job_id), 'retried') else a.outcome end"""
"""Of `attempts a`: succeeded, failed, canceled, released or retried."""
