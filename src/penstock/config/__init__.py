"""Where settings come from: the configuration file, the environment, the command line.

A setting `ring_bytes` is `--ring-bytes` on the command line, `PENSTOCK_RING_BYTES` in
the environment, `ring_bytes` in the file's table `[ring]`; the first of them counts.
Only `environment` reads the environment. None of this may know what a setting is for.
"""

from penstock.config.concerns import (
    CONCERNS,
    all_settings,
    flag_name,
    needs_restart,
)
from penstock.config.environment import (
    PREFIX,
    environment_name,
    model_access,
    s3_variables,
    service_manager,
)
from penstock.config.loading import (
    CONFIG_FILE,
    Configuration,
    Flags,
    config_file_name,
    data_dir,
    database_url,
    load,
    load_settings,
    setting_value,
)
from penstock.config.machine import cores, time_zone_name, unknown_time_zone
from penstock.config.secret_files import secret_of, with_password
from penstock.config.sender_secrets import password_in, shared_key

__all__ = [
    "CONCERNS",
    "CONFIG_FILE",
    "PREFIX",
    "Configuration",
    "Flags",
    "all_settings",
    "config_file_name",
    "cores",
    "data_dir",
    "database_url",
    "environment_name",
    "flag_name",
    "load",
    "load_settings",
    "model_access",
    "needs_restart",
    "password_in",
    "s3_variables",
    "secret_of",
    "service_manager",
    "setting_value",
    "shared_key",
    "time_zone_name",
    "unknown_time_zone",
    "with_password",
]
