"""The processes of one training, whatever started them: the first decides for all, and what ends one ends them all.

Lightning starts the others of `--trainer.devices 2` by itself; torchrun, srun or a user by hand start all at once.
They speak through torch's TCPStore in the first process, at the address where they later meet to train.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from kindling.core.errors import Stopped, Terminated, UsageError
from kindling.core.launch import Launch
from kindling.core.meeting_place import client_of, reach_first
from kindling.core.tables import print_plain

STARTER = "KINDLING_STARTER"  # the process that has Lightning start others
RUN = "kindling/run"  # the name of the run in the store that torchrun's agent keeps
GRACE = 20.0  # seconds within which a process has to end by itself once another has ended
OTHERS_COME = 30.0  # seconds that the first stays, so that the others hear why it ends, before they have met
OTHERS_HEAR = 3.0  # the same once they have met
WAITS = 30.0  # seconds after which the first says that it waits for the others
GONE = "another process of the training ended: see above, or it was killed"


class EndsWithOthers(Stopped):
    """Another process of the training has said why it ends: this one ends too, without a word."""


class Processes:
    """This process among those of its command; it may be the only one.

    Args:
        launch: which of how many it is.

    Raises:
        UsageError: if the first process can't be reached.
    """

    def __init__(self, launch: Launch | None = None) -> None:
        self.launch = launch or Launch()
        self.pid = os.getpid()
        self.number = self.launch.number
        self.run: Path | None = None  # to go on with
        self.store: Any = None
        self.agents: Any = None  # the store that torchrun's agent keeps while it restarts the processes
        self.decisions: dict[str, str] = {}
        self.code: int | None = None  # all processes end with it, before their time
        self.know_it = threading.Lock()  # two threads hear of the code
        self.have_met, self.patience = False, OTHERS_COME
        self.over: threading.Event | None = None  # set once this process's work is done
        if self.number != 1:
            self._reach_first(self.launch.environment)

    def __getstate__(self) -> dict[str, Any]:
        """The state of a copy in a process that Lightning spawns, which reaches the others in a way of its own."""
        return {"pid": self.pid}

    @property
    def is_first(self) -> bool:
        return self.launch.is_first

    def _reach_first(self, environment: Any) -> None:
        self.store, self.agents = reach_first(environment, self.is_first)
        for name, decision in self.decisions.items():
            self.store.set(name, decision)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._stop)
        self.over = threading.Event()
        watched = client_of(environment.main_address, environment.main_port)
        threading.Thread(target=self._watch, args=(watched, self.over), daemon=True).start()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """End at a launcher's signal outside the training, which handles signals itself."""
        raise Terminated(128 + number)

    def begun_run(self) -> Path | None:
        """The run that the same processes had before torchrun restarted them."""
        known = self.agents and self.agents.check([RUN])
        return Path(self.agents.get(RUN).decode()) if known else None

    def decide(self, name: str, decision: Callable[[], Any]) -> Any:
        """What the first process decides, for all of them: a plain value.

        Raises:
            EndsWithOthers: if it ended instead.
        """
        if not self.is_first:
            self._wait(lambda: self.store.check([name]))
            return json.loads(self.store.get(name))
        value = decision()
        self.decisions[name] = json.dumps(value)
        if self.store:
            self.store.set(name, self.decisions[name])
        return value

    def refuse_several(self, command: str) -> None:
        """Raise a UsageError if a command that does its work in one process was started in several."""
        if self.number != 1:  # in a job's script even a command that srun did not start finds its variables
            right = "with srun --ntasks=1" if self.launch.name == "srun" else f"without {self.launch.name}"
            raise UsageError(f"kindling {command} works in one process: start it {right}")

    def join(self, trainer: Any, run: Path | None) -> None:
        """Have the processes of a trainer meet before they form torch's group.

        Args:
            trainer: just made.
            run: the run that they can go on with when one of them is killed.

        Raises:
            UsageError: if the trainer's number of processes is not the number that were started.
        """
        self.run = run
        if run and self.agents and self.is_first:
            self.agents.set(RUN, str(run))
        self._refuse_another_number(trainer)
        if trainer.world_size > 1:
            if self.launch.local_rank == 0:
                os.environ[STARTER] = str(self.pid)
            strategy = trainer.strategy
            strategy.setup_environment = partial(self._meet_and_set_up, strategy, trainer.world_size)

    def _refuse_another_number(self, trainer: Any) -> None:
        launch, chosen = self.launch, {"trainer.devices": trainer.num_devices, "trainer.num_nodes": trainer.num_nodes}
        number = trainer.num_devices * trainer.num_nodes
        if trainer.num_nodes > 1 and not self.store:
            where = "set MASTER_ADDR, MASTER_PORT and NODE_RANK on each, start with torchrun or srun, or set it to 1"
            raise UsageError(f"trainer.num_nodes is {trainer.num_nodes}, but nothing says where they are: {where}")
        if launch.name == "WORLD_SIZE":
            self._refuse_rank_out_of_range(chosen)
        if launch.environment is None or launch.number is None or launch.settings == chosen:
            return
        starts_others = launch.number == 1 and not launch.environment.creates_processes_externally
        if not launch.settings and (launch.number == number or starts_others):
            return
        typed = " ".join(f"--{key} {value}" for key, value in launch.settings.items())
        right = f"leave both out, or type {typed}" if typed else f"their product has to be {launch.number}"
        if launch.name == "srun" and not typed:
            right = f"start it with srun --ntasks-per-node={trainer.num_devices}, or type --trainer.devices 1"
        processes = f"are {launch.number} processes" if launch.number > 1 else "is 1 process"
        asked = " and ".join(f"{key} is {value}" for key, value in chosen.items())
        raise UsageError(f"{launch.name} says that there {processes}, but {asked}: {right}")

    def _refuse_rank_out_of_range(self, chosen: dict[str, int]) -> None:
        """A process started by hand whose rank is beyond the trainer's number would take itself for the only one."""
        ranks = [("NODE_RANK", self.launch.node_rank, "trainer.num_nodes")]
        ranks += [("LOCAL_RANK", self.launch.local_rank, "trainer.devices")]
        for variable, rank, key in ranks:
            if rank >= chosen[key]:
                right = f"type the same --{key} for each process"
                raise UsageError(f"{variable} is {rank}, but {key} is {chosen[key]}: {right}")

    def _meet_and_set_up(self, strategy: Any, number: int) -> None:
        """What a strategy's `setup_environment` does, once all processes are there."""
        if os.getpid() == self.pid and not self.have_met:  # a fork has its own way to the others
            self._meet(strategy.cluster_environment, number)
        type(strategy).setup_environment(strategy)

    def _meet(self, environment: Any, number: int) -> None:
        self.number = number
        if not self.store:
            self._reach_first(environment)
        self._end_with_children()
        self.store.add("there", 1)
        said, begun = False, time.monotonic()

        def all_are_there() -> bool:
            nonlocal said
            there = self.store.add("there", 0)
            if self.is_first and not said and time.monotonic() - begun > WAITS:
                said = True
                print(f"note   waiting for {number - there} of {number} processes to start", flush=True)
            return there >= number

        self._wait(all_are_there)
        self.have_met, self.patience = True, OTHERS_HEAR

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true in the store; EndsWithOthers if another process ends first."""
        try:
            while not condition():
                self.end_with_others()
                time.sleep(0.1)
        except RuntimeError as error:  # the store's process is gone
            self.end_with_others()
            raise Stopped(GONE, 1, self.run) from error

    def hear_others(self) -> None:
        """Give another process time to say that it ends; EndsWithOthers if it does."""
        until = time.monotonic() + OTHERS_HEAR
        self._wait(lambda: time.monotonic() > until)

    def end_with_others(self) -> None:
        """Raise EndsWithOthers if another process has ended before its time."""
        if self.code is not None:
            raise EndsWithOthers("", self.code)

    # How they end

    def end(self, code: int) -> tuple[int, bool]:
        """The exit code of this process, which ends before its time, and whether it is the one to say why.

        Args:
            code: this process's own; 0 where all stop for a reason that the first one states.
        """
        if not self.store:
            return code, True
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending, and has to say why
        while not code and not self.is_first and self.code is None:  # until the thread that watches has heard it
            time.sleep(0.05)
        says = self.code is None and self._is_first_to_end(code)
        code = code if self.code is None else self.code
        # Lightning, which started it, would kill the first process at once.
        is_lightnings = not self.is_first and os.environ.get(STARTER) == str(os.getppid())
        return (0 if is_lightnings else code), says

    def _is_first_to_end(self, code: int) -> bool:
        own = json.dumps([code, self.launch.node_rank, self.launch.local_rank])
        try:
            ending = self.store.compare_set("ending", "", own).decode()
        except RuntimeError:  # the first is gone: on each node, one of those left says so
            return self.launch.local_rank == (1 if self.launch.node_rank == 0 else 0)
        self._note_end(ending)
        return ending == own

    def _note_end(self, ending: str) -> None:
        with self.know_it:
            if self.code is None:
                self.code = json.loads(ending)[0]
                with suppress(RuntimeError):  # the first has gone by now
                    self.store.add("told", int(not self.is_first))

    def finish(self) -> None:
        """Let the others know before the first ends, and stop watching them."""
        if self.store and self.is_first and self.code is not None:
            until = time.monotonic() + self.patience
            while time.monotonic() < until and self.store.add("told", 0) + 1 != self.number:
                time.sleep(0.05)
        if self.over:
            self.over.set()

    def _watch(self, store: Any, over: threading.Event) -> None:
        """Watch for the end of another process, and end with it, if need be in the middle of this one's work."""
        while not over.wait(0.3):
            try:
                if self.code is None and store.check(["ending"]):
                    self._note_end(store.get("ending").decode())
            except RuntimeError:  # the first is gone
                break
            if self.code is not None:
                break
        if not over.wait(GRACE):
            code, says = self.end(1 if self.code is None else self.code)
            if says:
                print_plain(f"kindling: {Stopped(GONE, 1, self.run)}", sys.stderr)
            self.finish()
            os._exit(code)

    def _end_with_children(self) -> None:
        """Let Lightning's observer still watch the processes that it started, but end with a sentence.

        When one ends, it would kill all others within 5 seconds, this one included.
        """
        for thread in threading.enumerate():
            if thread.name == "child-process-observer":
                vars(thread)["_terminate_all"] = self._end_as_a_child_has_ended

    def _end_as_a_child_has_ended(self) -> None:
        self.patience = OTHERS_HEAR
        if self.code is None and self._is_first_to_end(1):
            print_plain(f"kindling: {Stopped(GONE, 1, self.run)}", sys.stderr)
