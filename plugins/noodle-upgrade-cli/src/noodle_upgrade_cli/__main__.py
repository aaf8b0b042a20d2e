"""`python -m noodle_upgrade_cli` is `noodle`."""

from noodle_upgrade_cli.main import main

main()
