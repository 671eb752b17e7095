"""What a worker keeps warm: detectors, the decode child, the sending child, the site's key."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

from triage import deliver, log, maps, report, trust
from triage.errors import ConfigError, NotEligible
from triage.keys import site_key
from triage.outputs.context import Predecessor, ReportContext, reported_among
from triage.settings import Recipe, Settings

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from models.artifact import Artifact
    from triage.destinations import Destination
    from triage.finding import Assessment, Detection, Document
    from triage.preprocess.decoder import Decoder
    from triage.study import Series, Study


class Bench:
    """One per worker process. Torch is imported only when a detector is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._artifacts: dict[str, Artifact] = {}
        self.refused: dict[str, str] = {}
        """By name: detectors that lack the signature the site asks for, with why."""

    @property
    def reports_not_analysed(self) -> bool:
        """Tell whether the site wants a report for studies that were not analysed."""
        return self._settings.site.reporting.not_analysed

    @property
    def reports_failed(self) -> bool:
        """Tell whether the site wants a report for studies whose analysis failed."""
        return self._settings.site.reporting.failed

    def detect(self, study: Study, series: Series, name: str) -> Detection:
        """Give one detector's word on one series, prepared as the detector was trained.

        Raises:
            NotEligible: the artifact is missing, or the study's stratum is not calibrated.
        """
        from triage.detect import detect, detect_and_map, strata
        from triage.preprocess.pipeline import preprocess

        artifact = self.artifact(name)
        keys = strata(study, series)
        recipe = Recipe.model_validate(artifact.card.recipe_for(keys))
        volume = preprocess(series, recipe, self.decoder)
        min_n = self._settings.policy.min_calibration_n
        if self._settings.site.intended_use.mode != "research":
            return detect(volume, series, artifact, keys, min_n=min_n)
        detection, its_map = detect_and_map(volume, series, artifact, keys, min_n=min_n)
        if its_map is None:
            return detection
        settings = self._settings
        kept = maps.keep(its_map, settings.results, settings.readers)
        return replace(detection, map_sha256=kept)

    def artifact(self, name: str) -> Artifact:
        """Give a trained detector, its signature and checksums verified; it stays loaded.

        Raises:
            NotEligible: no artifact of that name is installed, or none with a trusted signature.
            ConfigError: its files are not what its manifest says, or the device is not there.
        """
        if name not in self._artifacts:
            folders = (folder / name for folder in self._settings.artifacts)
            found = next((folder for folder in folders if folder.is_dir()), None)
            if found is None:
                code, detail = "no-detector", f"artifact {name} is not installed"
                raise NotEligible(code, detail)
            loaded = self._load(found)
            loaded.detector.to(self._device)
            self._artifacts[name] = loaded
        return self._artifacts[name]

    def _load(self, folder: Path) -> Artifact:
        """Load what is signed as the site asks; nothing of it is parsed before that is known."""
        from models import artifact

        name = folder.name
        try:
            seal = trust.require(folder, self._settings.artifacts, self._settings.site.trust)
            loaded = artifact.load(folder)
            if seal is not None:
                _same(loaded, seal, name)
        except NotEligible as why:
            self.refused[name] = why.reason.detail
            raise
        except artifact.BadArtifact as why:
            msg = f"detector {name}: {why}"
            raise ConfigError(msg) from None
        self.refused.pop(name, None)
        return loaded

    @cached_property
    def _device(self) -> str:
        """Give where detectors run. On a CPU a worker takes one thread: more only compete."""
        import torch

        wanted, has_cuda = self._settings.site.work.device, torch.cuda.is_available()
        if wanted == "cuda" and not has_cuda:
            msg = "work.device is cuda, but torch sees no GPU; say auto or cpu in site.yaml"
            raise ConfigError(msg)
        if has_cuda and wanted != "cpu":
            return "cuda"
        torch.set_num_threads(1)
        return "cpu"

    @cached_property
    def decoder(self) -> Decoder:
        """Give the resource-limited child that touches pixel data."""
        from triage.preprocess.decoder import Decoder

        return Decoder(self._settings.site.decode)

    @cached_property
    def _key(self) -> bytes:
        return site_key(self._settings.secrets)

    def report(
        self,
        assessment: Assessment,
        former: Sequence[Document],
        *,
        destinations: tuple[Destination, ...] | None = None,
        accepted: report.Accepted | None = None,
    ) -> tuple[tuple[str, Document], ...]:
        """Build what each destination asks for and takes; gives (destination, document)."""
        site = self._settings.site
        destinations = site.destinations if destinations is None else destinations
        context = ReportContext(
            site_key=self._key,
            reporting=site.reporting,
            mode=site.intended_use.mode,
            version=version("triage"),
            now=datetime.now(UTC),
            predecessor=Predecessor.among(former),
            replaced_uid=reported_among(former),
            results=self._settings.results,
        )
        return report.report(assessment, destinations, context, accepted)

    def warm(self, queues: Collection[str]) -> None:
        """Load what the first study would otherwise wait for.

        Raises:
            ConfigError: a detector named by the routes fails its checksums: do not start.
        """
        if "gpu" in queues:
            self._warm_detectors()
        if "out" in queues:
            deliver.warm(one.name for one in self._settings.site.destinations)

    def _warm_detectors(self) -> None:
        names = {name for route in self._settings.routes.routes for name in route.detectors}
        for name in sorted(names):
            try:
                self.artifact(name)
            except NotEligible as why:
                log.get().warning("detector.missing", detector=name, why=str(why))
        self.decoder.start()
        site = self._settings.site
        report.warm(site.destinations, site.intended_use.mode)

    def close(self) -> None:
        """End the children."""
        deliver.stop()
        if "decoder" in self.__dict__:
            self.decoder.close()


def _same(loaded: Artifact, seal: trust.Seal, name: str) -> None:
    """Refuse what was exchanged since its signature was looked at, or is another detector's."""
    if loaded.sha256 != seal.manifest_sha256:
        raise trust.refusal(name, "its files changed while they were read")
    if loaded.card.name != name:
        raise trust.refusal(name, "what was signed is a detector of another name")
