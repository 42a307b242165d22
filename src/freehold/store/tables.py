"""Every table of Freehold, once, for SQLite and PostgreSQL alike.

Times are integers, microseconds since 1970 UTC (`…_us`). JSON is text that Freehold wrote itself, kept as text so that
it leaves as it came. Ids are the API's own. No table is WITHOUT ROWID: measured, events are 3.5 times slower so.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# --- access: who may -----------------------------------------------------------------------------

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("created_us", BigInteger, nullable=False),
    Column("archived_us", BigInteger),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("role", String(16), nullable=False),  # admin | member | viewer | worker
    Column("environment_id", String(64)),  # of a worker: the one environment whose work it may do
    Column("sha256", String(64), nullable=False, unique=True),  # of the key: keys are 256 random bits, so no slow hash
    Column("hint", String(16), nullable=False),  # the last four characters, for people
    Column("created_us", BigInteger, nullable=False),
    Column("revoked_us", BigInteger),
)

audit_log = Table(  # what was changed, by whom: every request with a key that may have changed something
    "audit_log",
    metadata,
    Column("id", String(64), primary_key=True),  # the request's id
    Column("at_us", BigInteger, nullable=False),
    Column("workspace_id", String(64), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("method", String(8), nullable=False),
    Column("path", String(512), nullable=False),
    Column("status", Integer, nullable=False),
    Index(None, "at_us", "id"),
)

sealed_secrets = Table(
    "sealed_secrets",
    metadata,
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # AES-256-GCM, bound to workspace and name
    Column("created_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("workspace_id", "name"),
)

# --- gateway: one row a call, refused ones too -----------------------------------------------------

_IN_SESSION = text("session_id IS NOT NULL")

calls = Table(
    "calls",
    metadata,
    Column("id", String(64), primary_key=True),  # our request id
    Column("workspace_id", String(64)),  # null: no valid key
    Column("key_id", String(64)),
    Column("session_id", String(64)),
    Column("user_id", String(256)),
    Column("task_type", String(64)),
    Column("source", String(128)),
    Column("route", String(16), nullable=False),  # messages | count_tokens
    Column("model_asked", String(128)),
    Column("model_answered", String(128)),
    Column("upstream", String(64)),
    Column("streamed", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error_type", String(64)),
    Column("stop_reason", String(64)),
    Column("attempts", Integer, nullable=False),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cache_write_5m_tokens", BigInteger),
    Column("cache_write_1h_tokens", BigInteger),
    Column("cache_read_tokens", BigInteger),
    Column("web_searches", BigInteger),
    Column("cost_nanodollars", BigInteger),  # null: no price is known for this model
    Column("price_version", String(64)),
    Column("usage_known", String(16), nullable=False),  # exact | partial | none
    Column("latency_us", BigInteger, nullable=False),
    Column("first_byte_us", BigInteger),
    Column("upstream_request_id", String(128)),
    Column("started_us", BigInteger, nullable=False),
    Column("reserved_nanodollars", BigInteger),  # the bound of the call; null: no hard budget applied
    Column("settled_nanodollars", BigInteger),  # what budgets were charged, all attempts; null: no budget applied
    Column("settlement", String(16)),  # exact | bounded | partial | lost; null: no budget applied
    Column("conversation", String(32)),  # a hash: of its first message and who asks; where it was given another tier
    Column("decided", Text),  # JSON: how routing chose the model, see `gateway/routing/kept.py`; null: it was named
    Index(None, "workspace_id", "started_us"),
    # Most calls are of no session, and an entry that nobody looks for costs as much as any other.
    Index(None, "session_id", "started_us", sqlite_where=_IN_SESSION, postgresql_where=_IN_SESSION),
    Index(None, "started_us"),
    Index(
        None,
        "conversation",
        "started_us",
        sqlite_where=text("conversation IS NOT NULL"),
        postgresql_where=text("conversation IS NOT NULL"),
    ),
)

call_sums = Table(  # what calls of an hour or a day add up to, by one thing that their rows know; `store/call_sums.py`
    "call_sums",
    metadata,
    Column("dimension", String(16), nullable=False),
    Column("width_us", BigInteger, nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("workspace_id", String(64), nullable=False),
    Column("value", String(512), nullable=False),  # empty: the rows know none
    Column("calls", BigInteger, nullable=False),
    Column("failed_calls", BigInteger, nullable=False),
    Column("unpriced_calls", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_write_5m_tokens", BigInteger, nullable=False),
    Column("cache_write_1h_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("web_searches", BigInteger, nullable=False),
    Column("cost_nanodollars", BigInteger, nullable=False),
    Column("settled_nanodollars", BigInteger, nullable=False),
    Column("latency_us", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    PrimaryKeyConstraint("dimension", "width_us", "from_us", "workspace_id", "value"),
)

call_sums_made = Table(  # which hours and days stand in `call_sums` whole, and of how many calls they were made
    "call_sums_made",
    metadata,
    Column("width_us", BigInteger, nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    PrimaryKeyConstraint("width_us", "from_us"),
)

recordings = Table(
    "recordings",
    metadata,
    Column("call_id", String(64), primary_key=True),  # of `calls`, whose row may come a moment later
    Column("workspace_id", String(64), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("user_id", String(256)),
    Column("size_bytes", Integer, nullable=False),  # of `content`
    Column("content", LargeBinary, nullable=False),  # zlib of JSON: request and answer without secrets, attempts
    Column("created_us", BigInteger, nullable=False),
    Index(None, "workspace_id", "user_id"),
    Index(None, "created_us", "call_id"),
)

# --- ledger: budgets, what processes hold of them, and what calls may have cost ---------------------------

budgets = Table(
    "budgets",
    metadata,
    Column("id", String(64), primary_key=True),  # bdgt_…
    Column("workspace_id", ForeignKey("workspaces.id")),  # null: the organisation's
    Column("scope", String(16), nullable=False),  # organization | workspace | key | user | session | batch
    Column("scope_id", String(256)),  # null: each one of that kind in the workspace, by itself
    Column("unit", String(16), nullable=False),  # nanodollars | tokens
    Column("period", String(16), nullable=False),  # day | month | lifetime
    Column("timezone", String(64), nullable=False),
    Column("enforcement", String(8), nullable=False),  # hard | soft
    Column("amount", BigInteger, nullable=False),  # the limit
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("archived_us", BigInteger),
    Index(None, "workspace_id", "created_us", "id"),
)

budget_accounts = Table(
    "budget_accounts",
    metadata,
    Column("id", String(512), primary_key=True),  # budget/start of the period/scope id
    Column("budget_id", ForeignKey("budgets.id"), nullable=False),
    Column("scope_id", String(256), nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("until_us", BigInteger),  # null: never
    Column("hard", Boolean, nullable=False),
    Column("amount", BigInteger, nullable=False),  # the limit that draws obey
    Column("ceiling", BigInteger, nullable=False),  # the limit, or what was out when it was lowered below that
    Column("settled", BigInteger, nullable=False, server_default=text("0")),
    Column("escrowed", BigInteger, nullable=False, server_default=text("0")),
    Column("lost", BigInteger, nullable=False, server_default=text("0")),  # of escrowed: kept by lost calls
    Column("overrun", BigInteger, nullable=False, server_default=text("0")),  # costs above their bounds: a defect
    Column("alerted_us", BigInteger),  # a soft budget's alert was given
    CheckConstraint("NOT hard OR settled + escrowed <= ceiling + overrun", name="holds"),
    CheckConstraint("escrowed >= lost AND lost >= 0", name="escrow"),
    Index(None, "budget_id", "started_us"),
    postgresql_with={"fillfactor": 50},
)

budget_holders = Table(
    "budget_holders",
    metadata,
    Column("id", String(64), primary_key=True),  # one server process
    Column("host", String(255), nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("batch", BigInteger, nullable=False),  # number of its last commit
    Column("recall", BigInteger, nullable=False),  # counts how often others have asked for what it holds idle
)

budget_escrows = Table(
    "budget_escrows",
    metadata,
    Column("holder_id", ForeignKey("budget_holders.id", ondelete="CASCADE"), nullable=False),
    Column("position", BigInteger, nullable=False),  # stands for the account in the holder's journal
    Column("account_id", ForeignKey("budget_accounts.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("amount >= 0", name="amount"),
    PrimaryKeyConstraint("holder_id", "position"),
    Index(None, "account_id"),
)

lost_calls = Table(
    "lost_calls",
    metadata,
    Column("request_id", String(64), nullable=False),
    Column("account_id", ForeignKey("budget_accounts.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),  # at most so much may have been billed
    Column("model", String(128)),
    Column("reason", String(16), nullable=False),  # unanswered | crashed | power
    Column("state", String(16), nullable=False),  # possibly_billed | released
    Column("noted_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id", "request_id"),
)

# --- agents, environments, sessions --------------------------------------------------------------------

agents = Table(
    "agents",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("archived_us", BigInteger),
    Index(None, "workspace_id", "created_us", "id"),
)

agent_versions = Table(
    "agent_versions",
    metadata,
    Column("agent_id", ForeignKey("agents.id", ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("body", Text, nullable=False),  # name, model, system, tools (expanded), mcp_servers, skills, metadata …
    Column("created_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("agent_id", "version"),
)

environments = Table(
    "environments",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("body", Text, nullable=False),  # name, description, config, metadata, scope
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("archived_us", BigInteger),
    Index(None, "workspace_id", "created_us", "id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("key_id", String(64), nullable=False),  # whoever created it pays for its calls
    Column("agent_id", ForeignKey("agents.id"), nullable=False),
    Column("agent_version", Integer, nullable=False),
    Column("environment_id", ForeignKey("environments.id"), nullable=False),
    Column("agent", Text, nullable=False),  # the whole agent as it was (or was overridden) at creation
    Column("environment_config", Text, nullable=False),
    Column("title", Text),
    Column("metadata", Text, nullable=False),
    Column("thread_id", String(64), nullable=False),  # the primary thread
    Column("usage", Text, nullable=False),  # running totals, written with the events they come from
    Column("cap_cents", BigInteger),  # the session's own budget, at list prices
    Column("status", String(16), nullable=False),  # idle | running | rescheduling | terminated
    Column("files_at", String(80)),  # which place holds its files; null: it has none yet
    Column("owner", String(64)),  # the server process that holds the lease
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_until_us", BigInteger, nullable=False, server_default=text("0")),
    Column("wake_at_us", BigInteger),
    Column("last_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("archived_us", BigInteger),
    Index(None, "workspace_id", "created_us", "id"),
    Index(None, "status", "lease_until_us"),
    Index(None, "environment_id"),
    postgresql_with={"fillfactor": 70},
)

events = Table(
    "events",
    metadata,
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("seq", BigInteger, nullable=False),  # 1, 2, 3 … within the session, in commit order, without gaps
    Column("id", String(64), nullable=False, unique=True),  # sevt_…
    Column("type", String(64), nullable=False),
    Column("body", Text, nullable=False),  # the event as the API shows it
    Column("hidden", Text),  # what only we need of it: thinking blocks, model's own tool ids
    Column("epoch", BigInteger, nullable=False),
    Column("processed_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("session_id", "seq"),
)

queued_events = Table(
    "queued_events",
    metadata,
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("id", String(64), primary_key=True),  # keeps its id when it moves into the log
    Column("position", BigInteger, nullable=False),  # order of arrival within the session
    Column("type", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Index(None, "session_id", "position"),
)

tool_calls = Table(
    "tool_calls",
    metadata,
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("event_id", String(64), nullable=False),  # the agent.*tool_use event; also the idempotency key
    Column("name", String(256), nullable=False),
    Column("policy", String(8), nullable=False),  # once | retry
    Column("state", String(16), nullable=False),  # planned | started | done | unknown | denied
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("epoch", BigInteger, nullable=False),
    Column("started_us", BigInteger),
    PrimaryKeyConstraint("session_id", "event_id"),
)

session_resources = Table(
    "session_resources",
    metadata,
    Column("id", String(64), primary_key=True),  # sesrsc_…
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("type", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Index(None, "session_id", "created_us"),
)

work_items = Table(  # sessions whose tools somebody else's machine is to run; at most one that lives per session
    "work_items",
    metadata,
    Column("id", String(64), primary_key=True),  # work_…
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("environment_id", ForeignKey("environments.id", ondelete="CASCADE"), nullable=False),
    Column("session_id", String(64), nullable=False),  # may be deleted before its work has ended
    Column("state", String(16), nullable=False),  # queued | starting | active | stopping | stopped
    Column("generation", Integer, nullable=False),  # how often it was handed out: tokens of earlier times are void
    Column("fruitless", Integer, nullable=False),  # items in a row before it that ended without any result
    Column("metadata", Text, nullable=False),
    Column("due_us", BigInteger, nullable=False),  # not handed out before
    Column("lease_until_us", BigInteger, nullable=False),  # 0: nobody has it
    Column("polled_us", BigInteger),  # handed out and not yet acknowledged, or acknowledged
    Column("acknowledged_us", BigInteger),
    Column("started_us", BigInteger),  # its first heartbeat
    Column("heartbeat_us", BigInteger),
    Column("answered_us", BigInteger),  # a result came while it lived
    Column("stop_requested_us", BigInteger),
    Column("stopped_us", BigInteger),
    Column("created_us", BigInteger, nullable=False),
    Index(
        "uq_work_items_living",
        "session_id",
        unique=True,
        sqlite_where=text("state <> 'stopped'"),
        postgresql_where=text("state <> 'stopped'"),
    ),
    Index(None, "environment_id", "state", "due_us"),
    Index(None, "environment_id", "created_us", "id"),
)

work_tokens = Table(  # what a worker shows for the session of an item that it was handed
    "work_tokens",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("work_id", ForeignKey("work_items.id", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
    Index(None, "work_id"),
)

work_pollers = Table(  # who asks for work, for the statistics of an environment
    "work_pollers",
    metadata,
    Column("environment_id", ForeignKey("environments.id", ondelete="CASCADE"), nullable=False),
    Column("worker_id", String(255), nullable=False),
    Column("polled_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("environment_id", "worker_id"),
)

executors = Table(
    "executors",
    metadata,
    Column("id", String(64), primary_key=True),  # one server process; information, never proof of death
    Column("host", String(255), nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("heartbeat_us", BigInteger, nullable=False),
)

# --- library: what an agent is given -----------------------------------------------------------------

files = Table(
    "files",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("filename", String(255), nullable=False),
    Column("mime_type", String(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),  # the blob's name under the data folder
    Column("downloadable", Boolean, nullable=False),
    Column("scope_id", String(64)),  # the session whose output or resource it is
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    UniqueConstraint("id", "workspace_id"),
    Index(None, "workspace_id", "created_us", "id"),
    Index(None, "scope_id"),
    Index(None, "sha256"),
    Index(
        None, "expires_us", sqlite_where=text("expires_us IS NOT NULL"), postgresql_where=text("expires_us IS NOT NULL")
    ),
)

skills = Table(
    "skills",
    metadata,
    Column("id", String(64), primary_key=True),  # skill_…
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("name", String(64), nullable=False),  # the slug of SKILL.md; every version has the same
    Column("display_name", String(255), nullable=False),
    Column("latest_version_id", String(64), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Index(None, "workspace_id", "created_us", "id"),
)

skill_versions = Table(
    "skill_versions",
    metadata,
    Column("id", String(64), primary_key=True),  # skver_…
    Column("skill_id", ForeignKey("skills.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("description", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),  # of the zip archive, a blob
    Column("created_us", BigInteger, nullable=False),  # differs within a skill: old clients address versions by it
    UniqueConstraint("skill_id", "created_us"),
    Index(None, "sha256"),
)

memory_stores = Table(
    "memory_stores",
    metadata,
    Column("id", String(64), primary_key=True),  # memstore_…
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("archived_us", BigInteger),
    Index(None, "workspace_id", "created_us", "id"),
)

memories = Table(
    "memories",
    metadata,
    Column("id", String(64), primary_key=True),  # mem_…
    Column("store_id", ForeignKey("memory_stores.id", ondelete="CASCADE"), nullable=False),
    Column("version_id", String(64), nullable=False),  # memver_…, the one that holds this content
    Column("path", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),  # UTF-8, any character: PostgreSQL's text has no NUL
    Column("content_sha256", String(64), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    UniqueConstraint("store_id", "path"),
)

memory_versions = Table(
    "memory_versions",
    metadata,
    Column("id", String(64), primary_key=True),  # memver_…
    Column("store_id", ForeignKey("memory_stores.id", ondelete="CASCADE"), nullable=False),
    Column("memory_id", String(64), nullable=False),  # stays when the memory is deleted
    Column("operation", String(16), nullable=False),  # created | modified | deleted
    Column("path", Text),  # null: redacted
    Column("content", LargeBinary),  # null: deleted or redacted
    Column("content_sha256", String(64)),
    Column("actor_type", String(32), nullable=False),  # session_actor | api_actor
    Column("actor_id", String(64), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("redacted_us", BigInteger),
    Column("redacted_by", String(64)),  # the API key
    Index(None, "store_id", "created_us", "id"),
    Index(None, "memory_id"),
    Index(None, "created_us"),
)

# --- batches: many calls, later --------------------------------------------------------------------------

batches = Table(
    "batches",
    metadata,
    Column("id", String(64), primary_key=True),  # msgbatch_…
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("key_id", String(64), nullable=False),  # whoever created it pays for its calls
    Column("engine", String(16), nullable=False),  # local | upstream
    Column("headers", Text, nullable=False),  # JSON pairs that go with every call: betas, who it is for
    Column("kind", String(32), nullable=False),  # the same for batches that ask the same of other texts
    Column("forecast", Text),  # JSON: what it was expected to use when it was made; null: nothing was known
    Column("status", String(16), nullable=False),  # creating | in_progress | canceling | ended | deleted
    Column("holds", String(16), nullable=False),  # requests | results | nothing: what has not been tidied away
    Column("total", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),  # of all params
    Column("succeeded", Integer, nullable=False),  # these counts grow with the work; the API shows them at the end
    Column("errored", Integer, nullable=False),
    Column("canceled", Integer, nullable=False),
    Column("expired", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cost_nanodollars", BigInteger, nullable=False),
    Column("cache_saved_nanodollars", BigInteger, nullable=False),  # less than 0: its writes cost more than was read
    Column("unpriced", Integer, nullable=False),  # results whose price is not known
    Column("paused_why", Text),  # null: it is not paused
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("cancel_us", BigInteger),
    Column("ended_us", BigInteger),
    Index(None, "workspace_id", "created_us", "id"),
    Index(None, "workspace_id", "kind", "created_us"),
    Index(None, "status"),
)

batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", ForeignKey("batches.id", ondelete="CASCADE"), nullable=False),
    Column("idx", Integer, nullable=False),  # its place in the request: 0, 1, 2 …
    Column("custom_id", String(64), nullable=False),
    Column("turn", Integer, nullable=False),  # the order of work: requests with a prefix in common follow each other
    Column("size_bytes", Integer, nullable=False),  # of its params
    Column("state", String(16), nullable=False),  # queued | leased | succeeded | errored | canceled | expired
    Column("attempt", Integer, nullable=False),  # raised by each claim; a completion names its own
    Column("failures", Integer, nullable=False),
    Column("owner", String(64)),
    Column("lease_until_us", BigInteger),
    Column("not_before_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("batch_id", "idx"),
    Index(
        "ix_batch_items_queued",
        "batch_id",
        "turn",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "ix_batch_items_leased",
        "lease_until_us",
        "owner",
        sqlite_where=text("state = 'leased'"),
        postgresql_where=text("state = 'leased'"),
    ),
)

batch_requests = Table(  # apart from the items, so that a claim does not write the params anew
    "batch_requests",
    metadata,
    Column("batch_id", String(64), nullable=False),
    Column("idx", Integer, nullable=False),
    Column("params", LargeBinary, nullable=False),  # JSON, byte for byte as it came
    PrimaryKeyConstraint("batch_id", "idx"),
)

batch_results = Table(
    "batch_results",
    metadata,
    Column("batch_id", String(64), nullable=False),
    Column("idx", Integer, nullable=False),
    Column("line", LargeBinary, nullable=False),  # the whole line of the results, without its line break
    Column("input_tokens", Integer, nullable=False),  # with what was read from and written to the cache
    Column("output_tokens", Integer, nullable=False),  # 0 where the call was not answered
    Column("cost_nanodollars", BigInteger),  # null: no price is known
    Column("latency_ms", Integer),  # of the call; null: the upstream's own batch worked on it
    PrimaryKeyConstraint("batch_id", "idx"),  # and so: one result an item
)

batch_chunks = Table(  # of a batch that the upstream's own batch API works on
    "batch_chunks",
    metadata,
    Column("batch_id", ForeignKey("batches.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("first_idx", Integer, nullable=False),
    Column("last_idx", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # planned | submitting | submitted | done
    Column("upstream_id", String(128)),
    Column("owner", String(64)),
    Column("lease_until_us", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("polls", Integer, nullable=False),
    Column("next_us", BigInteger, nullable=False),
    Column("submitting_us", BigInteger),
    PrimaryKeyConstraint("batch_id", "number"),
    Index(None, "state", "next_us"),
)

deferred_calls = Table(  # single calls with a deadline, which a batch may answer
    "deferred_calls",
    metadata,
    Column("id", String(64), primary_key=True),  # dfr_…
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("key_id", String(64), nullable=False),  # whoever asked pays
    Column("headers", Text, nullable=False),  # JSON, as of a batch
    Column("prefix", String(32), nullable=False),  # the same for calls that begin alike; empty: no breakpoint
    Column("params", LargeBinary, nullable=False),  # as they came; empty when it is done
    Column("created_us", BigInteger, nullable=False),
    Column("deadline_us", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),  # held | sent | done
    Column("batch_id", String(64)),
    Column("idx", Integer),  # its place in that batch
    Column("promoted", Boolean, nullable=False),  # it is asked interactively
    Column("lease_until_us", BigInteger, nullable=False),  # of whoever asks it
    Column("status", Integer),  # HTTP, of the answer
    Column("answer", LargeBinary),  # JSON: the message or the error, as it came
    Column("via", String(16)),  # batch | interactive
    Column("ended_us", BigInteger),
    Index(None, "state", "deadline_us"),
    Index(None, "workspace_id", "state"),
    Index(None, "ended_us"),
)

# --- knowledge: documents that agents search ---------------------------------------------------------

knowledge_collections = Table(
    "knowledge_collections",
    metadata,
    Column("id", String(64), primary_key=True),  # kcol_…; the words of its chunks stand in tables of their own
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("name", String(64), nullable=False),  # of one that goes: its id
    Column("description", Text, nullable=False),
    Column("embedding", String(128), nullable=False),  # what makes its vectors; empty: it has none
    Column("next_number", BigInteger, nullable=False),  # of its chunks
    Column("documents", Integer, nullable=False),  # that are ready
    Column("indexed_chunks", BigInteger, nullable=False),  # those of documents on their way in or out too
    Column("indexed_words", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),  # grows with every change of its chunks
    Column("gone", Boolean, nullable=False),  # deleted; its rows are on their way out
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    UniqueConstraint("workspace_id", "name"),
    Index(None, "workspace_id", "created_us", "id"),
)

knowledge_documents = Table(
    "knowledge_documents",
    metadata,
    Column("id", String(64), primary_key=True),  # kdoc_…: one version of what has that name
    Column("collection_id", ForeignKey("knowledge_collections.id"), nullable=False),
    Column("name", Text, nullable=False),  # a path or an address
    Column("title", Text, nullable=False),
    Column("media_type", String(255), nullable=False),
    Column("sha256", String(64), nullable=False),  # of the bytes that it was read from
    Column("size_bytes", BigInteger, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # indexing | ready | gone
    Column("created_us", BigInteger, nullable=False),
    Index(None, "collection_id", "state", "name"),
    Index(None, "collection_id", "created_us", "id"),
    Index(None, "state", "created_us"),
)

knowledge_chunks = Table(
    "knowledge_chunks",
    metadata,
    Column("collection_id", String(64), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("document_id", String(64), nullable=False),
    Column("text", Text, nullable=False),
    Column("heading", Text, nullable=False),  # those above it, outermost first
    Column("place", Text, nullable=False),  # JSON: page, start, end, first_line, last_line
    PrimaryKeyConstraint("collection_id", "number"),
    Index(None, "document_id", "number"),
)

knowledge_vectors = Table(
    "knowledge_vectors",
    metadata,
    Column("collection_id", String(64), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float16, little-endian, of length 1
    PrimaryKeyConstraint("collection_id", "number"),
)

# --- webhooks --------------------------------------------------------------------------------------------

cache_misses = Table(
    "cache_misses",
    metadata,
    Column("call_id", String(64), primary_key=True),
    Column("workspace_id", String(64), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("model", String(128), nullable=False),
    Column("culprit", String(32), nullable=False),  # tools_reordered | system_changed | expired …
    Column("path", String(128), nullable=False),  # of the first block that differs
    Column("before", Text, nullable=False),  # a few bytes around the first difference
    Column("after", Text, nullable=False),
    Column("lost_tokens", BigInteger, nullable=False),
    Column("cost_nanodollars", BigInteger, nullable=False),
    Column("warmed_by", String(64), nullable=False),  # the call that had warmed the prefix
    Column("at_us", BigInteger, nullable=False),
    Index(None, "workspace_id", "at_us"),
)

cache_habits = Table(
    "cache_habits",
    metadata,
    Column("route", String(512), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("counts", Text, nullable=False),  # JSON: how soon prefixes of that kind were asked for again
    Column("updated_us", BigInteger, nullable=False),
)

route_samples = Table(
    "route_samples",
    metadata,
    Column("call_id", String(64), primary_key=True),
    Column("workspace_id", String(64), nullable=False),
    Column("route", String(32), nullable=False),  # a hash: of key, alias, task type, tools, beginning of the system
    Column("features", LargeBinary, nullable=False),  # hashes of words, 8 bytes each
    Column("length", Float, nullable=False),
    Column("numbers", Float, nullable=False),
    Column("loss", Float, nullable=False),  # 1: the cheap answer was worse
    Column("at_us", BigInteger, nullable=False),
    Index(None, "at_us"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(64), primary_key=True),  # whk_…
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False),  # JSON: the types that are sent; empty: all
    Column("sealed", LargeBinary, nullable=False),  # the signing secret
    Column("created_us", BigInteger, nullable=False),
    Index(None, "workspace_id", "created_us", "id"),
)

oauth_clients = Table(
    "oauth_clients",
    metadata,
    Column("id", String(64), primary_key=True),  # mcpclient_…
    Column("name", String(255), nullable=False),
    Column("redirect_uris", Text, nullable=False),  # JSON
    Column("created_us", BigInteger, nullable=False),
    Column("used_us", BigInteger, nullable=False),  # 0: nobody has granted it anything
)

oauth_grants = Table(
    "oauth_grants",
    metadata,
    Column("id", String(64), primary_key=True),  # mcpgrant_…
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("client_id", String(64), nullable=False),
    Column("toolbox", String(64), nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("challenge", String(64), nullable=False),
    Column("code_hash", String(64), nullable=False),
    Column("code_until_us", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Column("access_hash", String(64), nullable=False),
    Column("access_until_us", BigInteger, nullable=False),
    Column("refresh_hash", String(64), nullable=False),
    Column("last_refresh_hash", String(64), nullable=False),
    Index(None, "code_hash"),
    Index(None, "access_hash"),
    Index(None, "refresh_hash"),
    Index(None, "last_refresh_hash"),
    Index(None, "workspace_id", "created_us", "id"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", String(64), primary_key=True),  # alrt_…
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("figures", Text, nullable=False),  # JSON: why
    Column("open_as", String(512), unique=True),  # workspace, kind and subject of an open one; null: it is over
    Column("opened_us", BigInteger, nullable=False),
    Column("closed_us", BigInteger),
    Column("until_us", BigInteger),  # over by itself then
    Index(None, "workspace_id", "opened_us", "id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", String(64), primary_key=True),  # whe_…, the webhook-id: the same in every attempt
    Column("webhook_id", ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("type", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),  # waiting | delivered | failed
    Column("attempts", Integer, nullable=False),
    Column("next_us", BigInteger, nullable=False),
    Column("lease_until_us", BigInteger, nullable=False),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("created_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Index(None, "webhook_id", "created_us", "id"),
    Index(None, "state", "next_us"),
    Index(None, "ended_us"),
)
