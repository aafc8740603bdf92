"""What can be set of questions in plain language: the model, its limits, its cost."""

from dataclasses import dataclass

from penstock.settings.declared import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class AskSettings:
    """How questions become SQL, and what they may cost."""

    ask_api_key: str = setting(
        "",
        "The key of the model's API. Empty: ANTHROPIC_API_KEY, which other programs use"
        " too. It is sent to ask_base_url and nowhere else, and is in no log line and"
        " no row. It has no flag: a command line can be read by everybody on the"
        " machine.",
        secret=True,
        may_be_empty=True,
        file_may_be_empty=True,
    )
    ask_api_key_file: str = setting(
        "",
        "The file that holds that key, and a line end at most. An empty one is no key.",
        may_be_empty=True,
    )
    ask_database_url: str = setting(
        "",
        "The same database as a login that may write down questions and what they"
        " cost, a member of penstock_asker, where logs are read from a replica. Empty:"
        " where they are read. It has no flag: a command line can be read by everybody"
        " on the machine.",
        secret=True,
        may_be_empty=True,
    )
    ask_database_url_file: str = setting(
        "",
        "The file that holds that URL, and a line end at most.",
        may_be_empty=True,
    )
    ask_base_url: str = setting(
        "",
        "Where the model's API is: a gateway of your own, perhaps. Empty:"
        " ANTHROPIC_BASE_URL, else https://api.anthropic.com.",
        may_be_empty=True,
    )
    ask_model: str = setting(
        "claude-haiku-5-5",
        "The model that answers first: the fastest and cheapest one that writes good"
        " SQL.",
    )
    ask_repair_model: str = setting(
        "claude-sonnet-5-5",
        "The stronger model that mends SQL which the guard or PostgreSQL refused.",
    )
    ask_max_repairs: int = setting(
        2,
        "How often SQL is mended for one question. What two have not mended, a third"
        " seldom does; the question asked in other words does.",
        low=0,
        high=5,
    )
    ask_effort: str = setting(
        "low",
        "How much the model thinks before it answers (output_config.effort); default"
        " leaves it to the model. SQL over one table needs little, and somebody waits.",
        choices=("low", "medium", "high", "default"),
    )
    ask_max_tokens: int = setting(
        4_096,
        "Tokens of one answer, its thinking included, at most: some ten times what SQL"
        " of a page takes.",
        low=256,
        high=32_768,
    )
    ask_timeout_seconds: float = setting(
        30.0,
        "One answer of the model, repeated requests included, takes this long at most:"
        " somebody waits at a terminal. The SDK's own limit is ten minutes.",
        low=1.0,
        high=600.0,
    )
    ask_spend_per_day: float = setting(
        5.0,
        "US dollars that all questions of this database cost in 24 hours, at most, by"
        " ask_prices; when it is spent, questions are refused. Some thousand questions"
        " of the default model. 0 is no limit.",
        low=0.0,
        high=1_000_000.0,
    )
    ask_prices: tuple[str, ...] = setting(
        (
            "claude-haiku-5-5=0.10/0.50",
            "claude-sonnet-5-5=2/10",
            "claude-opus-5-5=4/20",
        ),
        "US dollars for a million tokens, MODEL=INPUT/OUTPUT, of each model that is"
        " used. A name stands for its dated versions too. Writing to the prompt cache"
        " is counted as 1.25 of INPUT, reading as 0.1.",
    )
    ask_share_rows: str = setting(
        "off",
        "Whether rows of a result may be sent to the model, by --explain. Off because"
        " logs hold what customers and colleagues wrote.",
        choices=("off", "on"),
    )
