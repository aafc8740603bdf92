"""What a statement may be made of: functions, operators, types, collations.

Lists of what is allowed; all else is refused, also what a later PostgreSQL brings. Each
name is one of the schema pg_catalog, and every overload there of a name in these lists
is harmless: it computes from its arguments, whatever they are, and neither reads nor
writes, waits or runs a text (tests/integration/test_guard_contains.py asks the server's
own pg_proc). It owns the lists, and must not know where they are used.
"""

from collections.abc import Mapping

VIEWS: Mapping[str, tuple[str, ...]] = {
    "logs": ("id", "ts", "tag", "level", "service", "host", "message", "attributes"),
    "rejected_event": ("id", "received_at", "sender", "tag", "reason", "sqlstate"),
}
# Where the views are (migration 0008), and what else may be named.
VIEWS_SCHEMA = "penstock_read"
BUILT_IN_SCHEMA = "pg_catalog"

_AGGREGATES = """
any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop
covar_samp every json_agg json_agg_strict json_object_agg json_object_agg_strict
json_object_agg_unique json_object_agg_unique_strict jsonb_agg jsonb_agg_strict
jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique
jsonb_object_agg_unique_strict max min mode percentile_cont percentile_disc range_agg
range_intersect_agg regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope
regr_sxx regr_sxy regr_syy stddev stddev_pop stddev_samp string_agg sum var_pop
var_samp variance
"""
_WINDOWS = """
cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank
row_number
"""
_TIMES = """
age clock_timestamp date date_add date_bin date_part date_subtract date_trunc extract
interval isfinite justify_days justify_hours justify_interval make_date make_interval
make_time make_timestamp make_timestamptz now overlaps statement_timestamp time
timeofday timestamp timestamptz timezone to_char to_date to_number to_timestamp
transaction_timestamp
"""
_TEXTS = """
ascii bit_length btrim casefold char_length character_length chr concat concat_ws
convert_from convert_to decode encode format initcap left length
like_escape lower lpad ltrim md5 octet_length overlay parse_ident position
quote_ident quote_literal quote_nullable regexp_count regexp_instr regexp_like
regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table
regexp_substr repeat replace reverse right rpad rtrim similar_escape similar_to_escape
split_part starts_with string_to_array string_to_table strpos substr substring text
to_ascii to_bin to_hex to_oct translate unistr upper
"""
_NUMBERS = """
abs acos acosd asin asind atan atan2 atan2d atand cbrt ceil ceiling cos cosd cot cotd
degrees div erf erfc exp float4 float8 floor gcd int2 int4 int8 lcm ln log log10
min_scale mod numeric pi pow power radians random random_normal round scale sign sin
sind sqrt tan tand trim_scale trunc width_bucket
"""
_ARRAYS_AND_RANGES = """
array_append array_cat array_dims array_length array_lower array_ndims array_position
array_positions array_prepend array_remove array_replace array_reverse array_sample
array_shuffle array_sort array_to_json array_to_string array_upper cardinality
daterange generate_series generate_subscripts int4range int8range isempty lower_inc
lower_inf multirange num_nonnulls num_nulls numrange range_merge trim_array tsrange
tstzrange unnest upper_inc upper_inf
"""
_JSON = """
json_array_elements json_array_elements_text json_array_length json_build_array
json_build_object json_each json_each_text json_extract_path json_extract_path_text
json_object json_object_keys json_strip_nulls json_to_record json_to_recordset
json_typeof jsonb_array_elements jsonb_array_elements_text jsonb_array_length
jsonb_build_array jsonb_build_object jsonb_concat jsonb_contains jsonb_each
jsonb_each_text jsonb_exists jsonb_exists_all jsonb_exists_any jsonb_extract_path
jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys jsonb_path_exists
jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz jsonb_path_query
jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first
jsonb_path_query_first_tz jsonb_path_query_tz jsonb_pretty jsonb_set jsonb_set_lax
jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof row_to_json to_json
to_jsonb
"""
_TEXT_SEARCH = """
numnode phraseto_tsquery plainto_tsquery querytree setweight strip to_tsquery
to_tsvector ts_headline ts_rank ts_rank_cd tsquery_phrase tsvector_to_array
websearch_to_tsquery
"""
_OTHERS = """
abbrev bit_count bool broadcast crc32 crc32c enum_first enum_last enum_range family
gen_random_uuid get_bit get_byte hashtext host hostmask inet_merge inet_same_family
masklen netmask network pg_collation_for pg_column_size pg_size_bytes pg_size_pretty
set_bit set_byte set_masklen sha224 sha256 sha384 sha512
uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7
"""
FUNCTIONS = frozenset(
    " ".join(
        (
            _AGGREGATES,
            _WINDOWS,
            _TIMES,
            _TEXTS,
            _NUMBERS,
            _ARRAYS_AND_RANGES,
            _JSON,
            _TEXT_SEARCH,
            _OTHERS,
        )
    ).split()
)

# Columns of functions that return rows; or, of one alone, the name that it has whatever
# its alias is (parse_relation.c, chooseScalarFunctionAlias).
ROW_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "json_each": ("key", "value"),
    "json_each_text": ("key", "value"),
    "jsonb_each": ("key", "value"),
    "jsonb_each_text": ("key", "value"),
    "json_array_elements": ("value",),
    "json_array_elements_text": ("value",),
    "jsonb_array_elements": ("value",),
    "jsonb_array_elements_text": ("value",),
}
# Whose result is an array of texts, whatever they are given.
TEXT_ARRAYS = frozenset(
    ("string_to_array", "regexp_split_to_array", "regexp_match", "tsvector_to_array")
)
# Whose columns a list says: AS t(a int, b text).
NEEDS_COLUMN_LIST = frozenset(
    ("json_to_record", "json_to_recordset", "jsonb_to_record", "jsonb_to_recordset")
)

# Their first argument may be a configuration, which is a name (regconfig): a literal
# that PostgreSQL looks up. One of its own, then; any other tells whether it exists.
TEXT_SEARCH_CONFIGURED: Mapping[str, int] = {
    "to_tsvector": 2,
    "to_tsquery": 2,
    "plainto_tsquery": 2,
    "phraseto_tsquery": 2,
    "websearch_to_tsquery": 2,
    "ts_headline": 3,
}
TEXT_SEARCH_CONFIGURATIONS = frozenset(
    """
    simple arabic armenian basque catalan danish dutch english estonian finnish french
    german greek hindi hungarian indonesian irish italian lithuanian nepali norwegian
    portuguese romanian russian serbian spanish swedish tamil turkish yiddish
    """.split()
)

# `LIKE` and its kin are operators to the parser: ~~ and so on.
OPERATORS = frozenset(
    """
    = <> < > <= >= + - * / % ^ || |/ ||/ @ & | # ~ << >>
    ~* !~ !~* ~~ !~~ ~~* !~~* ^@
    -> ->> #> #>> @> <@ ? ?| ?& #- @? @@ && -|- &< &> <<= >>= !! <->
    """.split()
)

TYPES = frozenset(
    """
    bool int2 int4 int8 float4 float8 numeric text varchar bpchar bytea
    date time timetz timestamp timestamptz interval json jsonb jsonpath
    uuid inet cidr macaddr macaddr8 bit varbit tsvector tsquery
    int4range int8range numrange tsrange tstzrange daterange
    int4multirange int8multirange nummultirange tsmultirange tstzmultirange
    datemultirange
    """.split()
)

# What may stand in a statement without being a call (SQLValueFunction).
VALUE_FUNCTIONS: Mapping[str, str] = {
    "SVFOP_CURRENT_DATE": "current_date",
    "SVFOP_CURRENT_TIME": "current_time",
    "SVFOP_CURRENT_TIME_N": "current_time",
    "SVFOP_CURRENT_TIMESTAMP": "current_timestamp",
    "SVFOP_CURRENT_TIMESTAMP_N": "current_timestamp",
    "SVFOP_LOCALTIME": "localtime",
    "SVFOP_LOCALTIME_N": "localtime",
    "SVFOP_LOCALTIMESTAMP": "localtimestamp",
    "SVFOP_LOCALTIMESTAMP_N": "localtimestamp",
}

EXPLAIN_OPTIONS = frozenset(
    ("verbose", "costs", "format", "summary", "buffers", "memory")
)

# Of these the argument with this number is what is looked for, in all of the first one:
# their time is the product of both, and PostgreSQL does not look meanwhile whether a
# statement's time is up (translate() of 10 MB by 10,000 characters ran for minutes).
SEARCHING: Mapping[str, int] = {
    "btrim": 1,
    "ltrim": 1,
    "position": 1,
    "replace": 1,
    "rtrim": 1,
    "split_part": 1,
    "string_to_array": 1,
    "string_to_table": 1,
    "strpos": 1,
    "translate": 1,
}
MAX_SOUGHT_CHARACTERS = 100
# The same of arrays and of JSON: one side has to be a value that is written out, or one
# that a view's row has. These make of such values no larger one than they are together.
CONTAINMENT = frozenset(("@>", "<@", "&&"))
KEEPING_SMALL = frozenset(
    """
    btrim chr concat initcap jsonb_build_array jsonb_build_object left lower ltrim md5
    right rtrim split_part string_to_array substr substring to_jsonb upper
    """.split()
)
RANGES = frozenset(
    ("daterange", "int4range", "int8range", "numrange", "tsrange", "tstzrange")
)
MAX_WRITTEN_ELEMENTS = 1_000

# A length that a text is filled up to. A screen has some hundred columns.
MAX_FILL_CHARACTERS = 10_000
# A series of seconds of a quarter of a year has 8 million.
MAX_SERIES_ROWS = 10_000_000
# Views and functions in FROM. What the planner does grows with their number, partitions
# and all, and it seldom looks whether its time is up.
MAX_RELATIONS = 24
# Their number times the statement's bytes: each day's table gets a copy of conditions.
# A list of 3,000 ids over a year of days takes the planner 1 s and 300 MB.
MAX_PLANNED_BYTES = 192 * 1024
