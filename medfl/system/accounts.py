"""Accounts of the operating system."""

from __future__ import annotations

import getpass
import os


def current_account() -> str:
    """Return the name of the account that runs this process, and of the one behind it when that is sudo: "root (sudo: NAME)".

    The account's own entry decides and not the environment, which anybody may set, but for sudo, whose word there is.
    """
    try:
        import pwd

        account = pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # not on Windows; or an account without an entry, as in a container
        account = f"uid {os.getuid()}" if hasattr(os, "getuid") else getpass.getuser()
    behind = os.environ.get("SUDO_USER", "")
    return f"{account} (sudo: {behind[:64]})" if behind and account == "root" else account
