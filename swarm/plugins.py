"""Plugins: what installed packages and files of the user's add to the program's own evals, members, metrics and so on.

A package names what it brings as entry points, a file registers it:

    from swarm.plugins import register

    @register("evals", "concise")
    def concise(reply, example):
        words = reply.strip(" .").split()
        return float(example.answer in words and len(words) <= 10)

Every room says what a plugin of its group has to be (docs/extend.md), and asks `find_plugin` for one by name.
"""

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from swarm.errors import BudgetReached, UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """Plugins of one kind.

    Attributes:
      name: also that of the entry-point group, `h_swarm.<name>`.
      about: what such a plugin does.
      asked_for: how a user names one; "" while the program asks for none of this group.
    """

    name: str
    about: str
    asked_for: str

    @property
    def entry_points(self) -> str:
        """The group of entry points."""
        return f"h_swarm.{self.name}"

    @property
    def one(self) -> str:
        """What one of them is called."""
        return self.name.removesuffix("s")


_ALL = (
    Group("evals", "score answers", "-e NAME"),
    Group("optimizers", "propose candidates of a search", "--optimizer NAME"),
    Group("members", "answer with the help of other members", '"type": "NAME" in a node.json'),
    Group("engines", "generate text", ""),
    Group("metrics", "compare an answer with its reference", "--metric NAME"),
    Group("datasets", "give questions and answers", "-d NAME"),
    Group("trackers", "are sent a run's numbers", "--tracker NAME"),
)
GROUPS = {group.name: group for group in _ALL}
HINT = "a plugin's needs its package, or --plugin FILE.py (docs/extend.md)"  # where there is none of a name


@dataclass(frozen=True)
class Plugin:
    """Something that the program does not have itself.

    Attributes:
      group, name: by which it is found.
      source: where it comes from, for messages: package and version, or file and line.
      code: what its code is known by: package and version, or the file's SHA-256.
    """

    group: str
    name: str
    source: str
    code: str
    _target: Callable[[], Any] = field(repr=False)

    def load(self) -> Any:
        """What the package or file gives by this name. Raises UserError if it cannot be imported."""
        try:
            return self._target()
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{GROUPS[self.group].one} {self.name!r} of {self.source} cannot be imported ({in_short(error)}); mend "
                "or reinstall it"
            ) from error


@dataclass(frozen=True)
class PluginFile:
    """A Python file of the user's as it was read; it is run once in a process."""

    path: Path
    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of its content; what it imports is not in it."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def module(self) -> str:
        """The name of the module that it becomes, which no other file has."""
        return f"h_swarm_plugin_{hashlib.sha256(f'{self.path} {self.digest}'.encode()).hexdigest()[:16]}"

    def run(self, what: str = "plugin file") -> ModuleType:
        """The module that it defines. Raises UserError, which calls the file `what`, if it cannot be run."""
        if self.module in sys.modules:
            return sys.modules[self.module]
        spec = importlib.util.spec_from_file_location(self.module, self.path)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.module] = module  # dataclasses look their module up
        _run[self.module] = self
        whole = False
        try:
            # the content that was read, not what the file may hold by now: its digest is what the user has agreed to
            exec(compile(self.content, str(self.path), "exec", dont_inherit=True), vars(module))
            whole = True
        except (Exception, SystemExit) as error:
            where, line = _frame(error, str(self.path))
            at = f", line {line}" if where == str(self.path) else ""
            raise UserError(f"{what} {self.path} cannot be run{at}: {in_short(error)}; mend it") from error
        finally:
            if not whole:
                del sys.modules[self.module]
                _registered.pop(self.module, None)
        return module


_registered: dict[str, list[Plugin]] = {}  # by the module that has registered them
_run: dict[str, PluginFile] = {}  # by module: all that were run in this process
_in_use: tuple[PluginFile, ...] = ()  # those whose plugins count now


def register(group: str, name: str) -> Callable[[T], T]:
    """A decorator that makes a function or class a plugin; what it decorates stays as it is.

    Raises UserError for a group that there is not, and for a name that could not be asked for.
    """
    caller = sys._getframe(1)
    module, source = str(caller.f_globals.get("__name__")), f"{caller.f_code.co_filename}, line {caller.f_lineno}"
    if group not in GROUPS or not GROUPS[group].asked_for:
        wanted = ", ".join(one.name for one in _ALL if one.asked_for)
        raise UserError(f"@register has the group {group!r}; wanted one of: {wanted}")
    if not re.fullmatch(r"\w[\w.-]*", name) or name.endswith(".py"):
        raise UserError(f"@register has the name {name!r}; wanted letters, digits, _, - and full stops, no file's name")

    def keep(target: T) -> T:
        own = _registered.setdefault(module, [])
        if module not in _run:  # a notebook's cell may be run again
            own[:] = [plugin for plugin in own if (plugin.group, plugin.name) != (group, name)]
        code = _run[module].digest if module in _run else source
        own.append(Plugin(group, name, source, code, lambda: target))
        return target

    return keep


def read_plugin_file(name: str, what: str = "plugin file", wanted: str = "FILE.py") -> PluginFile:
    """The file of this name; nothing in it is run. Raises UserError, which calls it `what`, if it is not there."""
    path = Path(name)
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"no {what} {name}: wanted {wanted}; name one that is there")
    return PluginFile(path.absolute(), path.read_bytes())


def plugin_files(value: str | None) -> tuple[PluginFile, ...]:
    """The files that a setting FILE.py[,FILE.py] names, none of them run. Raises UserError if one is not there."""
    return tuple(read_plugin_file(name.strip()) for name in value.split(",")) if value is not None else ()


def plugin_files_digest(value: str) -> str:
    """SHA-256 over the files that a setting names, in their order; nothing in them is run."""
    return hashlib.sha256("".join(file.digest for file in plugin_files(value)).encode()).hexdigest()


def use_plugin_files(value: str | None) -> None:
    """Runs the files that a setting FILE.py[,FILE.py] names; from now on their plugins can be asked for, no others'.

    Raises UserError, and leaves what can be asked for as it was, for a file that is not there, raises or registers
    nothing, and for a name that a package or another file has, too.
    """
    use_files(plugin_files(value))


def use_files(files: Sequence[PluginFile]) -> None:
    """As `use_plugin_files`, with files that have been read, perhaps by another process."""
    global _in_use
    files = tuple(dict.fromkeys(files))
    for file in files:
        file.run()
        if not _registered.get(file.module):
            raise UserError(f'plugin file {file.path} registers nothing; put @register("evals", "NAME") above an eval')
    for new in [plugin for file in files for plugin in _registered[file.module]]:
        _only(new.group, new.name, [plugin for plugin in _offered(new.group, files) if plugin.name == new.name])
    _in_use = files


def files_in_use() -> tuple[PluginFile, ...]:
    """The plugin files whose plugins can be asked for, for another process to use."""
    return _in_use


def offered(group: str) -> list[Plugin]:
    """What packages give to a group, by name, then what files in use and this process have registered for it.

    None of it is imported. A name may be there twice: that matters to whoever asks for it.
    """
    return _offered(group, _in_use)


def find_plugin(group: str, name: str, own: Collection[str] = ()) -> Plugin | None:
    """The plugin of that name; None if there is none. `own` are the program's own names, which no plugin may have.

    Raises UserError if the name is there twice.
    """
    return _only(group, name, [plugin for plugin in offered(group) if plugin.name == name], name in own)


def names_in(group: str, own: Collection[str] = ()) -> list[str]:
    """What can be asked for: the program's `own` names, then those of plugins."""
    return list(dict.fromkeys([*own, *(plugin.name for plugin in offered(group))]))


@contextmanager
def faults_named(what: str, target: Any) -> Iterator[None]:
    """Whatever somebody else's `target` raises becomes a UserError that says so of `what`, with the line of its file.

    What the program's own classes raise stays as it is: that is for whoever mends them.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, UserError | BudgetReached) or is_ours(target):
            raise
        raise fault(what, error, getattr(sys.modules.get(_module_of(target)), "__file__", None)) from error


def is_ours(target: Any) -> bool:
    """Whether a function, a class or an object of one is part of this program."""
    return _module_of(target).partition(".")[0] == __name__.partition(".")[0]


def _module_of(target: Any) -> str:
    return getattr(target, "__module__", None) or type(target).__module__


def fault(what: str, error: BaseException, file: str | None) -> UserError:
    """The error that says what a plugin has raised, and where in its file, or else where at all."""
    where, line = _frame(error, file)
    return UserError(f"{what} raised {in_short(error)} ({where}, line {line}); mend it, then go on")


def in_short(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _frame(error: BaseException, file: str | None) -> tuple[str, int | None]:
    """Where an error is from, file and line: the last frame in this file if there is one, else the last at all."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return str(file), error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    last = ([frame for frame in frames if frame.filename == file] or frames)[-1]
    return last.filename, last.lineno


def _offered(group: str, files: Sequence[PluginFile]) -> list[Plugin]:
    installed = [_of_package(group, point) for point in entry_points(group=GROUPS[group].entry_points)]
    modules = [*(file.module for file in files), *(module for module in _registered if module not in _run)]
    registered = [plugin for module in modules for plugin in _registered.get(module, ()) if plugin.group == group]
    return [*sorted(installed, key=lambda plugin: (plugin.name, plugin.source)), *registered]


def _of_package(group: str, point: EntryPoint) -> Plugin:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown package"
    return Plugin(group, point.name, package, package, point.load)


def _only(group: str, name: str, found: Sequence[Plugin], own: bool = False) -> Plugin | None:
    places = [*(["this program"] if own else []), *(plugin.source for plugin in found)]
    if len(places) > 1:
        raise UserError(
            f"{GROUPS[group].one} {name!r} is there {len(places)} times, from {' and from '.join(places)}: rename one, "
            "leave its file out, or uninstall its package"
        )
    return found[0] if found else None
