"""``python -m hydra_cli`` is the same as the ``hydra-pers`` command."""

from hydra_cli.cli.app import main

if __name__ == "__main__":
    main()
