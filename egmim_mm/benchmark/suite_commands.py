"""``tools/benchmark.py all``; heavy imports stand in the run, so that ``--help`` is fast."""
import argparse
import shlex
import sys

from egmim_mm.subcommands import add_device

from .commands import COMMANDS

__all__ = ['COMMANDS', 'typed_command']


def typed_command() -> str:
    """What the user typed, for the record."""
    return f'python tools/benchmark.py {shlex.join(sys.argv[1:])}'


def _all_options(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    parser.add_argument('--threads', type=int, help='CPU threads of a training process (default: one for each core)')
    parser.add_argument('--workers', type=int, default=2, help='loader processes of a training (default: %(default)s)')
    parser.add_argument('--rounds', type=int, metavar='N', help='measurements of each way (default: 2 to 5)')
    parser.add_argument('--only', nargs='+', default=[], metavar='NAME', help='only these parts, such as pretrain-nano')
    parser.add_argument('--tiles', metavar='FOLDER', help='images to pretrain on (default: synthetic scenes of 512 px)')
    parser.add_argument('--resume', action='store_true', help='go on with an interrupted run')
    parser.add_argument('--toy', action='store_true', help='tiny models: does everything run here?')
    parser.add_argument('--work-dir', default='work_dirs/benchmark/all',
                        help='folder of the journal, all.json and the logs (default: %(default)s)')
    parser.add_argument('--out', help='the page; a picture is put beside it (default: docs/results/speed.md, of --toy '
                        'speed.md in the work dir)')


@COMMANDS.register('all', _all_options, help='one table: everything against the stock toolchain',
                   description='Time training with its data, memory, loading and evaluation against stock MMPretrain '
                   'and MMSegmentation, in turn, each in a process of its own, and write one page. Interrupted, it '
                   'goes on with --resume.')
def _all(args: argparse.Namespace) -> None:
    from egmim_mm.cores import cores_per_process

    from .machine import check_device
    from .page import print_document, write_page
    from .suite import Suite
    suite = Suite(args.work_dir, check_device(args.device), args.threads or cores_per_process(), args.workers,
                  args.resume, args.only, args.rounds, args.tiles, args.toy)
    try:
        document = suite.run(typed_command())
    except KeyboardInterrupt:
        again = typed_command() + ('' if args.resume else ' --resume')
        raise KeyboardInterrupt(f'Interrupted. What is measured is kept; go on with: {again}') from None
    print_document(document)
    out = args.out or (f'{args.work_dir}/speed.md' if args.toy else 'docs/results/speed.md')
    print('wrote ' + ', '.join(map(str, [*write_page(document, out), f'{args.work_dir}/all.json'])))
    if document['not_measured']:
        sys.exit('Error: some measurements failed, see above; --resume tries them again')
