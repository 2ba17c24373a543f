"""The ledger's tables: one step for each schema version, from the first on. Opens no file.

A step that was released is never changed; a new version appends one. The file's ``user_version`` says how many were done.
"""

from __future__ import annotations

__all__ = ["MIGRATIONS"]

_FIRST = (
    """CREATE TABLE calls (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,  -- hash of endpoint, model and everything that shapes the answer
        endpoint TEXT NOT NULL,
        model TEXT NOT NULL,
        purpose TEXT NOT NULL,     -- rationale | synthesis
        domain TEXT NOT NULL,
        sample INTEGER NOT NULL,
        request TEXT NOT NULL,     -- JSON of what the key covers
        answer INTEGER             -- the attempt that answered, or NULL
    )""",
    """CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        call INTEGER NOT NULL REFERENCES calls (id),
        name TEXT NOT NULL,        -- the manifest that pays; empty for an answer from another ledger
        verb TEXT NOT NULL,
        stage INTEGER NOT NULL,    -- -1 for none
        cause TEXT NOT NULL,       -- new | retry | refill | import
        owner TEXT NOT NULL,       -- the process that sent it
        lease REAL NOT NULL,       -- until when it is certainly at work, seconds since 1970
        status TEXT NOT NULL,      -- sent | answered | failed | lost
        calls INTEGER NOT NULL,    -- charged now, 0 or 1
        tokens INTEGER NOT NULL,   -- charged now: the bound, then what was billed
        nano_usd INTEGER,          -- charged now; NULL where the model has no price
        reserved_tokens INTEGER NOT NULL,
        reserved_nano_usd INTEGER,
        billed INTEGER NOT NULL DEFAULT 0,  -- 1 once the reply has been read
        prompt_tokens INTEGER,
        cached_tokens INTEGER,
        completion_tokens INTEGER,
        reasoning_tokens INTEGER,
        finish_reason TEXT,
        error TEXT,
        started REAL NOT NULL,
        ended REAL
    )""",
    "CREATE INDEX attempts_call ON attempts (call)",
    "CREATE INDEX attempts_name ON attempts (name)",
    "CREATE INDEX attempts_sent ON attempts (owner) WHERE status = 'sent'",
    "CREATE TABLE replies (attempt INTEGER PRIMARY KEY REFERENCES attempts (id), raw TEXT NOT NULL)",
    # sums of the attempts, kept in the same transactions
    "CREATE TABLE accounts (name TEXT PRIMARY KEY, calls INTEGER NOT NULL, tokens INTEGER NOT NULL, nano_usd INTEGER NOT NULL)",
    # answers that were given again instead of being bought
    """CREATE TABLE hits (
        call INTEGER NOT NULL,
        name TEXT NOT NULL,
        verb TEXT NOT NULL,
        stage INTEGER NOT NULL,
        n INTEGER NOT NULL,
        PRIMARY KEY (call, name, verb, stage)
    ) WITHOUT ROWID""",
)

_BATCHES = (
    """CREATE TABLE batches (
        id TEXT PRIMARY KEY,       -- ours; in the provider's metadata and in the input file's name
        name TEXT NOT NULL,        -- the manifest that pays
        endpoint TEXT NOT NULL,
        model TEXT NOT NULL,
        n INTEGER NOT NULL,        -- requests in it
        status TEXT NOT NULL,      -- planned | creating | submitted | done | dropped
        file TEXT,                 -- the provider's name of the input file
        provider TEXT,             -- the provider's name of the batch
        told TEXT,                 -- what the provider said of it last
        owner TEXT NOT NULL,       -- the process that looks after it
        holder TEXT NOT NULL,      -- which of its askings does
        lease REAL NOT NULL,       -- until when it certainly does, seconds since 1970
        created REAL NOT NULL,
        ended REAL
    )""",
    "CREATE INDEX batches_open ON batches (endpoint, model) WHERE status IN ('planned', 'creating', 'submitted')",
    "ALTER TABLE attempts ADD COLUMN batch TEXT",  # NULL for a call that was sent on its own
    "CREATE INDEX attempts_batch ON attempts (batch) WHERE batch IS NOT NULL",
)

_ESTIMATES = (
    """CREATE TABLE estimates (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,        -- of the manifest
        verb TEXT NOT NULL,
        stage INTEGER NOT NULL,    -- -1 for none
        work TEXT NOT NULL,        -- hash of what shapes the work
        made REAL NOT NULL,        -- seconds since 1970
        told TEXT NOT NULL,        -- JSON of the estimate
        had_calls INTEGER NOT NULL,  -- billed to this name, verb and stage before
        had_tokens INTEGER NOT NULL,
        had_nano_usd INTEGER NOT NULL,
        had_hits INTEGER NOT NULL,  -- answers given again before
        ended REAL                 -- when the work was done; NULL while it is not
    )""",
    "CREATE INDEX estimates_name ON estimates (name)",
)

_DIALECTS = (
    """CREATE TABLE dialects (
        endpoint TEXT NOT NULL,
        model TEXT NOT NULL,
        dialect TEXT NOT NULL,     -- JSON of what the server takes
        learned REAL NOT NULL,     -- seconds since 1970
        PRIMARY KEY (endpoint, model)
    ) WITHOUT ROWID""",
)

_SERVERS = (
    """CREATE TABLE servers (
        endpoint TEXT NOT NULL,
        model TEXT NOT NULL,
        server TEXT NOT NULL,      -- port and path of the server on loopback that has this name
        PRIMARY KEY (endpoint, model)
    ) WITHOUT ROWID""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _BATCHES, _ESTIMATES, _DIALECTS, _SERVERS)
