"""Tools with subcommands: each room registers its own, a tool only collects them."""
import argparse
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from .option_values import OptionAction

__all__ = ['Subcommands', 'add_cfg_options', 'add_dev', 'add_device', 'read_config']

Configure = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], None]


class Subcommands:
    """What a tool can do, in the order of registration.

    A room registers in its ``commands.py``. That file imports nothing heavy at its top: ``--help`` lists the
    subcommands of all modules and must not wait seconds for torch, so each run imports what it runs.
    """

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Configure, Run, dict[str, str]]] = {}

    def register(self, name: str, configure: Configure, **texts: str) -> Callable[[Run], Run]:
        """Decorator of the function that runs the subcommand.

        Args:
            name: What is typed after the tool's name.
            configure: Adds the options of the subcommand to its parser.
            **texts: ``help`` (in the tool's list) and ``description`` (above the options).

        Raises:
            ValueError: The name is taken.
        """
        if name in self._entries:
            raise ValueError(f"there are two subcommands '{name}'")

        def keep(run: Run) -> Run:
            self._entries[name] = (configure, run, texts)
            return run

        return keep

    def register_report(self, name: str, configure: Configure, files: str, folder: str,
                        **texts: str) -> Callable[[Run], Run]:
        """Decorator of a subcommand that writes files into the folder ``args.out``; where they are is printed.

        Args:
            name, configure: See :meth:`register`; ``--out`` is added to the options.
            files: What is written, for people: 'probe.json and probe.png'.
            folder: The default of ``--out``; '<config name>' in it becomes the name of the file ``args.config``.
            **texts: See :meth:`register`.
        """

        def options(parser: argparse.ArgumentParser) -> None:
            configure(parser)
            parser.add_argument('--out', help=f'folder of {files} (default: {folder})')

        def keep(run: Run) -> Run:

            @self.register(name, options, **texts)
            def run_and_tell(args: argparse.Namespace) -> None:
                args.out = args.out or folder.replace('<config name>', Path(getattr(args, 'config', '')).stem)
                run(args)
                print(f'wrote {args.out}/{files}')

            return run

        return keep

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Let a tool's parser take the subcommands: ``args.command`` is the name, ``args.run(args)`` runs it."""
        commands = parser.add_subparsers(dest='command', required=True)
        for name, (_, _, texts) in self._entries.items():
            self.configure(commands.add_parser(name, **texts), name)

    def configure(self, parser: argparse.ArgumentParser, name: str) -> None:
        """Make a parser of its own take the options of one subcommand, and set ``args.run``."""
        configure, run, _ = self._entries[name]
        configure(parser)
        parser.set_defaults(run=run)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, for :func:`read_config`."""
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, default={}, metavar='KEY=VALUE',
                        help='override values of the config')


def add_dev(parser: argparse.ArgumentParser) -> None:
    """Add ``--dev``; :func:`egmim_mm.engine.dev_part.use_dev_part` does it."""
    parser.add_argument('--dev', action='store_true', help='in place of the test images evaluate the dev_tiles of the '
                        'config, which are taken out of the training part')


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``; without it, a GPU is taken if there is one."""
    parser.add_argument('--device', help='cpu, cuda, cuda:1 (default: a GPU if there is one)')


def read_config(args: argparse.Namespace) -> Config:
    """The config that ``args`` name, with its overrides."""
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    return cfg
