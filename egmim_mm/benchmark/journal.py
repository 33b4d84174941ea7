"""What a long run has measured so far, a line each, so that an interrupted one can go on."""
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ['Journal']


class Journal:
    """A file whose first line holds the settings of the run and each other line one finished measurement.

    Args:
        path: The file.
        settings: What the measurements depend on, of JSON's types.
        resume: Go on with the file; otherwise an older one is kept as ``<name>.previous``.

    Raises:
        ValueError: With ``resume``, the file is not there or was made with other settings.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any], resume: bool = False) -> None:
        self.path = Path(path)
        self.done: dict[str, Any] = {}
        if resume:
            self._read(json.loads(json.dumps(settings)))
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.path.replace(self.path.with_name(f'{self.path.name}.previous'))
        self._add(dict(settings=settings))

    def keep(self, key: str, result: Any) -> None:
        """Write the result of a measurement."""
        self._add(dict(key=key, result=result))
        self.done[key] = result

    def _add(self, line: Mapping[str, Any]) -> None:
        with self.path.open('a', encoding='utf-8') as file:
            file.write(json.dumps(line) + '\n')

    def _read(self, settings: dict[str, Any]) -> None:
        if not self.path.is_file():
            raise ValueError(f'--resume: there is no {self.path}; start without --resume')
        text = self.path.read_text(encoding='utf-8')
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith('\n')]
        before = lines[0]['settings'] if lines else None
        if before != settings:
            changed = [key for key in settings if (before or {}).get(key) != settings[key]] or list(before or {})
            raise ValueError(f'{self.path} was measured with another {", ".join(changed)}: give the options of that '
                             'run, or start a new one')
        self.done = {line['key']: line['result'] for line in lines[1:]}
        # a line that was cut off by a crash goes
        self.path.write_text(''.join(json.dumps(line) + '\n' for line in lines), encoding='utf-8')
