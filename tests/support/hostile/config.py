"""What the user gives us: its mistakes, and how they are found."""


class ConfigError(Exception):
    """The user's mistake: a bad option, layout or scenario."""


def as_list(value):
    return value if isinstance(value, list) else [value]


def refuse_unknown(keys, known, where):
    unknown = sorted(set(keys) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}")
