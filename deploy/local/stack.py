"""The whole stack as verbs: up, down, clean, status.

`up` finds everything well, or brings back what died while processes of ours live on with jobs in their hands.
Where that does not help it stops what is left of an earlier run and starts anew on the same data, so a
half-started or killed run needs no case of its own.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import httpx2

from deploy.local import applications, envfile, processes, scraping
from deploy.local.applications import Application, run_module
from deploy.local.demo import push_one_image
from deploy.local.failure import StackError
from deploy.local.lock import exclusive
from deploy.local.private import PrivateServers
from deploy.local.sample import fetch_sample
from deploy.local.seaweedfs import ensure_bucket
from deploy.local.state import State
from deploy.local.together import together

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.local.progress import Progress

DRAIN_S = 30
OUR_OWN = ("gateway", "scaler")
CLIENT_VARIABLES = ("LEVERET_URL", "LEVERET_API_KEY")


class Stack:
    """One stack, in the folder `.leveret` of a checkout.

    Args:
        folder: That folder.
        progress: Where progress is printed.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder = folder.resolve()
        self._progress = progress
        earlier = State.load(self.folder / "state.json").user
        self._user = {**earlier, **_own_settings(self.variables, earlier)}
        self._servers = PrivateServers(self.folder, own=self._user, progress=progress)

    @property
    def access(self) -> dict[str, str]:
        """`LEVERET_URL` and `LEVERET_API_KEY`, as last written for `source`."""
        return envfile.read(self.folder / "env")

    @property
    def variables(self) -> dict[str, str]:
        """The settings of the stack's processes, as last written."""
        return envfile.read(self.folder / "stack.env")

    async def up(self) -> None:
        """Bring everything up, or find it up, and push a real image through.

        Raises:
            StackError: Something did not come up; what this call started has been stopped again.
        """
        async with exclusive(self.folder, self._progress):
            ran_before = await self.healthy()
            if ran_before:
                self._progress.say("already running")
            elif not (ran_before := await self._mended()):
                await self._stop()
                await self._start_or_leave_nothing()
        try:
            await push_one_image(self.folder, self.access)
        except asyncio.CancelledError:
            if not ran_before:
                await self.down()
            raise

    async def healthy(self) -> bool:
        """Do all servers and processes of an earlier `up` run as wanted, serve and say that they are well?"""
        if not self._as_wanted():
            return False
        variables = self.variables
        if not await self._servers.healthy() or not all(map(self._servers.state.runs, OUR_OWN)):
            return False
        return all(await together(*map(applications.ready, applications.applications(variables))))

    def _as_wanted(self) -> bool:
        """Did an earlier `up` come to its end, with the settings that the user has now?"""
        variables = self.variables
        return bool(variables and self.access) and self._user.items() <= variables.items()

    async def _mended(self) -> bool:
        """Bring back what died and leave the living alone; False where nothing lives, or it did not help."""
        state = State.load(self._servers.state.file)
        living = any(map(state.runs, OUR_OWN)) or applications.workers(self._servers.place)
        if not (living and self._as_wanted() and self._servers.place.data.exists()):
            return False
        try:
            await self._mend()
        except StackError as error:
            self._progress.say(f"starting all anew: {str(error).partition(chr(10))[0]}")
            return False
        return True

    async def _mend(self) -> None:
        """The servers first: without them nobody who lives can finish, or even leave."""
        variables = self.variables
        if not (await self._servers.mend()).items() <= variables.items():
            raise StackError("the servers have other addresses than before")
        wanted = applications.applications(variables)
        dead = [each for each in wanted if not self._servers.state.runs(each.name)]
        if dead:
            await self._migrate(variables)
        await together(
            *(self._start_one(each, variables) for each in dead),
            *(applications.until_well(each, self._servers.place) for each in wanted if each not in dead),
        )
        await self._ensure_key(variables)

    async def _start_or_leave_nothing(self) -> None:
        try:
            await self._start()
        except BaseException:
            self._progress.say("stopping what was started")
            await self._stop()
            raise

    async def _start(self) -> None:
        _, servers = await together(self._prepare_files(), self._servers.start())
        variables = applications.settings(self._servers.place, self._servers.state, self._user, servers or {})
        await together(self._migrate(variables), ensure_bucket(variables))
        await together(*(self._start_one(each, variables) for each in applications.applications(variables)))
        envfile.write(self.folder / "stack.env", variables)
        scraping.write(self.folder, variables)
        await self._ensure_key(variables)
        self._servers.state.keep_user(self._user)  # last: a setting that fails must not come back

    async def _prepare_files(self) -> None:
        """The example models and the picture: downloads, so they run beside the servers' start."""
        log = self._log("downloads")
        log.parent.mkdir(parents=True, exist_ok=True)
        await together(
            run_module("examples.models.install", str(self.folder / "models"), variables={}, log=log),
            fetch_sample(self.folder / "sample" / "astronaut.png", log),
        )
        self._progress.say("the example models and a picture are there")

    async def _migrate(self, variables: Mapping[str, str]) -> None:
        await run_module("shared.adapters.store.migrate", variables=variables, log=self._log("migrate"))
        self._progress.say("the database's schema is up to date")

    async def _start_one(self, application: Application, variables: Mapping[str, str]) -> None:
        await applications.start(application, variables, self._servers.place, self._servers.state)
        self._progress.say(f"{application.name} is ready")

    async def _ensure_key(self, variables: Mapping[str, str]) -> None:
        """Keep the key of an earlier run if the database still knows it; else make one."""
        url, known = variables["LEVERET_GATEWAY_PUBLIC_URL"], self.access.get("LEVERET_API_KEY")
        key = known if known and await _accepted(url, known) else await self._create_key(variables)
        envfile.write(self.folder / "env", {"LEVERET_URL": url, "LEVERET_API_KEY": key})

    async def _create_key(self, variables: Mapping[str, str]) -> str:
        arguments = ("create", "--tenant", "default", "--role", "operator", "--name", "local")
        return await run_module("gateway.keys", *arguments, variables=variables, log=self._log("keys"))

    def _log(self, name: str) -> Path:
        return self._servers.place.log(name)

    async def down(self) -> None:
        """Stop everything: our processes first, which drain, then the servers."""
        if not self.folder.exists():
            return
        async with exclusive(self.folder, self._progress):
            await self._stop()
            self._servers.state.keep_user({})
        self._progress.say("stopped")

    async def _stop(self) -> None:
        state = State.load(self._servers.state.file)
        if scaler := state.processes.get("scaler"):
            await processes.stop([scaler], deadline_s=DRAIN_S)  # first: it would replace the workers
        servers = [process for name, process in state.processes.items() if name not in OUR_OWN]
        ours = processes.roots(self.folder, but=servers, also=applications.workers(self._servers.place))
        if ours:
            self._progress.say(f"draining {len(ours)} process{'es' if len(ours) > 1 else ''}")
        await processes.stop(ours, deadline_s=DRAIN_S)
        await self._servers.stop()

    async def clean(self) -> None:
        """Stop everything and remove all data, logs and settings."""
        if not self.folder.exists():
            return
        async with exclusive(self.folder, self._progress):
            await self._stop()
            self._servers.remove_data()
        self._progress.say("stopped, and its data removed")

    async def status(self) -> bool:
        """Print what runs; True when all is well."""
        for name, process in State.load(self._servers.state.file).processes.items():
            print(f"{name:12} {f'running, pid {process.pid}' if process.alive() else 'not running'}")
        well = await self.healthy()
        print(f"ready at {self.access['LEVERET_URL']}" if well else "not ready: start it with `make up`")
        return well


def _own_settings(written: Mapping[str, str], earlier: Mapping[str, str]) -> dict[str, str]:
    """The user's `LEVERET_` variables, less those merely sourced from an earlier run's `stack.env`."""
    mine = {name: value for name, value in os.environ.items() if name.startswith("LEVERET_")}
    sourced = {name for name, value in mine.items() if written.get(name) == value and name not in earlier}
    return {name: value for name, value in mine.items() if name not in {*sourced, *CLIENT_VARIABLES}}


async def _accepted(url: str, key: str) -> bool:
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
        answer = await client.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    return answer.is_success
