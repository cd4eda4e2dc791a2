"""What pyproject.toml cannot say: the wheel brings the embedded experts and their questions, which lie below data/."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("base", "composites", "experts", "second")
QUESTIONS = "data/eval/graph_tasks_small.json"


def embedded() -> dict[str, str]:
    """Each file's place in the built package -> where it lies here."""
    files = {"swarm/embedded/eval/graph_tasks_small.json": QUESTIONS}
    for folder in FOLDERS:
        found = [path for path in sorted(Path("data/embedded", folder).rglob("*")) if path.is_file()]
        if not found:
            raise FileNotFoundError(f"data/embedded/{folder} has no files: build from a whole clone or an sdist")
        for path in found:
            files[f"swarm/embedded/{path.relative_to('data/embedded').as_posix()}"] = path.as_posix()
    return files


class BuildWithData(build_py):
    """Copies them beside the modules. An editable install needs no copy: the package finds them in the clone."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for place, source in embedded().items():
                target = Path(self.build_lib, place)
                self.mkpath(str(target.parent))
                self.copy_file(source, str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else outputs + [str(Path(self.build_lib, place)) for place in embedded()]


setup(cmdclass={"build_py": BuildWithData})
