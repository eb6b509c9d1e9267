"""Every name that Errata uses in Redis; the queues' own keys are RQ's.

Redis holds what is under way, and nothing that the home folder does not bring back. What RQ calls a job is called a
task here: one worker's turn at a job, or at a target shard of an edit.
"""

# RQ's queues, in the order in which workers turn to them.
EDIT_QUEUE = "errata-edits"  # edits to be begun or gone on with
SHARD_QUEUE = "errata-target-shards"  # target shards, where no edit waits
MEASUREMENT_QUEUE = "errata-measurements"  # evaluations and traces, where there is nothing to edit
QUEUES = (EDIT_QUEUE, SHARD_QUEUE, MEASUREMENT_QUEUE)

# The functions that a worker runs.
RUN = "errata_worker.tasks.run"  # for a job's id
RUN_SHARD = "errata_worker.tasks.run_shard"  # finds the targets of one shard, for an edit's id and the shard's number

HOME = "errata:home"  # id of the home folder that this Redis works for; missing in a new one
JOBS = "errata:jobs"  # set of the ids of the jobs that have a live state here
ACTIVATIONS = "errata:activations"  # stream that wakes serving replicas: one entry for each activation
REPLICAS = "errata:replicas"  # set of the ids of serving replicas, live and gone
WRITABLE = "errata:writable"  # set for a moment to see whether Redis takes anything
SWEPT = "errata:swept"  # set for an hour when what has had its day was looked for
ORDER_LOCK = "errata:order"  # held by the one worker that lets older jobs go first
RECOVERY_LOCK = "errata:recovery"  # held by the one process that looks for lost jobs

swept_folder = "errata:swept:{}".format  # the same of one machine's copy of the home folder
replica = "errata:replica:{}".format  # the Replica record of an id, as JSON; it expires when the replica falls silent

# Of a job, by its id:
job = "errata:job:{}".format  # its record while it has not ended, as JSON
progress = "errata:job:{}:progress".format  # how far it is while it runs, as JSON
told = "errata:job:{}:told".format  # set for a moment when those who follow it were told of its progress
cancel = "errata:job:{}:cancel".format  # set when it is to stop at its next step
searching = "errata:job:{}:searching".format  # hash: how many facts of each shard, by number, have no target yet
queued = "errata:job:{}:queued".format  # set of the ids of the tasks that were queued for it
missing = "errata:job:{}:missing".format  # hash: when each needed task was first seen neither queued nor held
losses = "errata:job:{}:losses".format  # hash: how many workers each of its tasks has lost
events = "errata:job:{}:events".format  # stream of what happened to it


def live_state(job_id: str) -> tuple[str, ...]:
    """All that goes when a job ends; its events stay for a while, and so does what tells its worker to stop."""
    return tuple(name(job_id) for name in (job, progress, told, searching, missing, losses))
