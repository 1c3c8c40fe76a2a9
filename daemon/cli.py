"""The command line. Only click is imported here, to make ``--help`` quick; commands import what they need."""

from __future__ import annotations

import math
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from .errors import ExitCode, ServiceError
from .memory import set_up_heap


class _Commands(click.Group):
    """The one place where a ServiceError or Ctrl-C becomes a message on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ServiceError as error:
            click.echo(str(error), err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted; finished frames are kept: run again to go on", err=True)
            ctx.exit(ExitCode.INTERRUPTED)


class _FloatRange(click.FloatRange):
    """A range that nan is not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number.", param, ctx)
        return number


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dustwatch")
def cli() -> None:
    """Learn the dirt on a scanner's glass from the scans themselves and take it off every frame.

    What a scan holds (is it linear? does dirt darken it?) depends on the film and on how it was scanned: a
    profile says so. Generic ones are shipped; your own lie in ~/.config/dustwatch/profiles and may extend
    them.

    \b
    Clean the scans of an evening:
        dustwatch clean evening/ --output clean/
    Clean a further frame with what is known of its glass:
        dustwatch clean evening/ --output clean/ --keep-maps maps/
        dustwatch clean late.tif --output clean/ --map maps/
    Is the scan of the empty glass good? It helps from the first frame on:
        dustwatch calibrate empty.tif
    Clean scans as the scan software saves them, all evening long:
        dustwatch watch incoming/ clean/
    Scan a roll of film and have it cleaned:
        dustwatch scan evening/ --device epson2:libusb --profile my-film --holder 35mm-strip
    The same as a service, for several folders and scanners:
        dustwatch run --config /etc/dustwatch/config.yaml
    How far is it?
        dustwatch status
    See it work, without any scans:
        dustwatch demo
    Which scanners are there, and what have they for film?
        dustwatch devices
    Which profiles are there?
        dustwatch profiles list
    All values of one, inherited ones included; or its file, with the reasons:
        dustwatch profiles show generic-slide
        dustwatch profiles show --source generic-negative
    Be a film scanner with dirty glass, to try scanning on:
        dustwatch virtual-scanner
    Is the profile that I wrote all right?
        dustwatch profiles check my-film.yaml

    Exit status: 0 done, 1 some frames failed (they are named), 2 the command line, the configuration or a
    profile is wrong, 130 interrupted.
    """  # noqa: D301  (click's mark for "do not wrap" is the backspace character itself)
    set_up_heap()
    # Where in the code it was said helps nobody.
    warnings.formatwarning = lambda message, *_: f"{message}\n"


_PROFILE = click.option(
    "--profile",
    "profile_name",
    default="generic-negative",
    show_default=True,
    metavar="NAME",
    help="What the scans hold.",
)
_EMPTY_GLASS = click.option(
    "--empty-glass",
    "empty_glass",
    multiple=True,
    metavar="SCAN",
    type=click.Path(path_type=Path),
    help="Scan of the glass without film; see calibrate.",
)
_STATE = click.option("--state", metavar="DIR", type=click.Path(path_type=Path), help="Where it keeps what it knows.")
_THREADS = click.option("--threads", type=click.IntRange(1), metavar="N", help="Default: as many as there are cores.")


@cli.command("clean")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the cleaned frames go.",
)
@_PROFILE
@_EMPTY_GLASS
@click.option(
    "--keep-maps",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Keep there what is learnt of each glass, for --map.",
)
@click.option(
    "--map",
    "map_",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Learn nothing: clean with what --keep-maps has kept.",
)
@_THREADS
@click.option(
    "--json",
    "report",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write what was done, frame by frame.",
)
@click.option("--dry-run", is_flag=True, help="Only say which frames would be looked at, and write nothing.")
@click.option("--force", is_flag=True, help="Do again what is done, also over what somebody has changed.")
def clean_command(
    paths: tuple[Path, ...],
    output: Path,
    profile_name: str,
    empty_glass: tuple[Path, ...],
    keep_maps: Path | None,
    map_: Path | None,
    threads: int | None,
    report: Path | None,
    dry_run: bool,
    force: bool,
) -> None:
    """Learn the dirt on the glass from the frames and clean them.

    PATH is a folder of scans or a single one; give all frames of an evening together, as it is their differences that
    tell dirt from film. Originals are never changed. In DIR every frame appears under its name, and what was done to
    it under receipts/. What an earlier run has done is not done again.

    With --map frames are cleaned one by one, each with the kept map of the glass that it lies on. That is for frames
    that come alone, or are too large to scan several of.
    """
    from .film import load_profile, with_empty_glass
    from .pipeline import Job, clean
    from .report import Reporter, check_report
    from .warm_up import compile_ahead

    if map_ is not None and (keep_maps is not None or empty_glass):
        raise click.UsageError("with --map nothing is learnt: leave --keep-maps and --empty-glass away")
    if report is not None:
        check_report(report)

    profile = with_empty_glass(load_profile(profile_name), empty_glass or None)
    job = Job(paths, output, profile, threads or _cores(), force, dry_run, keep_maps, map_)
    with Reporter() as reporter:
        cleaned = clean(job, reporter.progress, lambda: compile_ahead(reporter.progress))
    reporter.finish(cleaned, job, report)
    if any(outcome.error for outcome in cleaned.outcomes):
        raise SystemExit(ExitCode.SOME_FAILED)


@cli.command("calibrate")
@click.argument("scans", metavar="SCAN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@_PROFILE
@_THREADS
@click.option(
    "--picture",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Draw the dirt in the first SCAN, as a new PNG.",
)
def calibrate_command(scans: tuple[Path, ...], profile_name: str, threads: int | None, picture: Path | None) -> None:
    """Check scans of the empty glass, and say what dirt they show.

    Scan the light table once, with the holder in its place but without film, as the film is scanned. With such a scan
    the first frame of a roll is cleaned already: give it to clean or watch with --empty-glass, or name it in a profile
    or in the configuration. It holds until the glass is wiped.
    """
    from .empty_glass import as_text, calibrate
    from .film import load_profile
    from .report import Reporter
    from .warm_up import compile_ahead

    profile = load_profile(profile_name)
    with Reporter() as reporter:
        compile_ahead(reporter.progress)
        found = calibrate(scans, profile, threads or _cores(), reporter.progress, picture)
    click.echo(as_text(found), nl=False)


@cli.command("watch")
@click.argument("input_", metavar="IN", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@_PROFILE
@_EMPTY_GLASS
@_STATE
@_THREADS
@click.option(
    "--still",
    type=_FloatRange(0.1, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="A file is whole when it has not changed for so long.",
)
@click.option(
    "--close-after",
    type=_FloatRange(0.01, 10080),
    default=30.0,
    show_default=True,
    metavar="MINUTES",
    help="A glass without new frames for so long is closed.",
)
def watch_command(
    input_: Path,
    output: Path,
    profile_name: str,
    empty_glass: tuple[Path, ...],
    state: Path | None,
    threads: int | None,
    still: float,
    close_after: float,
) -> None:
    """Clean scans as they appear in a folder.

    Let it run beside the scan software, which saves into IN. Each frame appears in OUT at once, and again when more is
    known of the dirt on its glass; for the last time when the glass has had no frame for a while. Originals are never
    changed, and what you edit, move or delete in OUT stays as you left it. Ctrl-C ends it, and the next start goes on.
    """
    from . import log
    from .service import serve
    from .settings import FolderSettings, refuse_harm, state_folder

    folder = FolderSettings(
        input_.absolute(),
        output.absolute(),
        profile_name,
        still_s=still,
        close_after_min=close_after,
        empty_glass=empty_glass or None,
    )
    refuse_harm(folder, state_folder(state))
    log.setup()
    serve([folder], state_folder(state), threads or _cores(), patient=False)


@cli.command("scan")
@click.argument("roll", metavar="ROLL", type=click.Path(path_type=Path))
@click.option("--device", required=True, metavar="NAME", help='As "dustwatch devices" lists it.')
@_PROFILE
@click.option(
    "--holder", metavar="NAME", help="Scan its slots one by one; without, what the scanner scans is one frame."
)
@click.option(
    "--loads",
    type=click.IntRange(0),
    metavar="N",
    help="So many, one upon the other. Without, Enter says that the next one lies there, q and Enter that none does.",
)
@click.option(
    "--button", "buttons", multiple=True, metavar="NAME", help="So does this button of the scanner, without --loads."
)
@click.option(
    "--stall",
    "stall_s",
    type=_FloatRange(1, 3600),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="A scanner that says nothing for so long hangs.",
)
@_STATE
@_THREADS
def scan_command(
    roll: Path,
    device: str,
    profile_name: str,
    holder: str | None,
    loads: int | None,
    buttons: tuple[str, ...],
    stall_s: float,
    state: Path | None,
    threads: int | None,
) -> None:
    """Scan film straight into clean folders.

    Scans go into ROLL/scans as they come, and into ROLL/clean cleaned, better with every load: the glass belongs to
    scanner and slot. How the scanner is set is said in the profile, in its section "scanner". A scanner that is jammed,
    busy or gone for a while is asked again until it works, and a half scan never appears. After Ctrl-C the next run
    goes on with a new load; with --loads 0 it only cleans.

    Where the input is not a terminal, any text on it does what Enter does, a q in it ends the session, and so does its
    end: with "< /dev/null" one load is scanned.
    """
    from .scan import scan_roll
    from .settings import state_folder

    if buttons and loads is not None:
        raise click.UsageError("--button says when the next load lies there, --loads that nobody does: leave one away")
    scan_roll(
        roll,
        device,
        profile_name,
        holder=holder,
        loads=loads,
        buttons=buttons,
        stall_s=stall_s,
        state=state_folder(state),
        threads=threads or _cores(),
    )


@cli.command("run")
@click.option(
    "--config",
    default=Path("/etc/dustwatch/config.yaml"),
    show_default=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Which folders to watch.",
)
def run_command(config: Path) -> None:
    """Watch several folders, and drive scanners, as a service does.

    FILE is explained, key by key, in systemd/config.yaml; systemd/dustwatch.service starts this command.
    """
    from . import log
    from .scan import feed_of
    from .service import serve
    from .settings import load_settings, state_folder

    settings = load_settings(config)
    log.setup()
    folders = [*settings.folders, *(one for scanner in settings.scanners for one in scanner.folders.values())]
    state = state_folder(settings.state)
    feeds = [feed_of(scanner, state) for scanner in settings.scanners]
    serve(folders, state, settings.threads or _cores(), patient=True, feeds=feeds)


@cli.command("status")
@click.option("--state", metavar="DIR", type=click.Path(path_type=Path), help="Where the service keeps what it knows.")
@click.option("--json", "as_json_", is_flag=True, help="For programs.")
def status_command(state: Path | None, as_json_: bool) -> None:
    """Say how far the watched folders are.

    Works while they are being watched. Files that were put aside are named, with the reason.
    """
    from .settings import state_folder
    from .status import as_json, as_text, read_status

    folders = read_status(state_folder(state))
    click.echo(as_json(folders) if as_json_ else as_text(folders))


@cli.command("demo")
@click.option(
    "--output",
    "-o",
    default="demo",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where scans, cleaned frames and the contact sheet go.",
)
@click.option("--frames", type=click.IntRange(2), default=16, show_default=True, metavar="N")
@click.option("--megapixels", type=_FloatRange(0.5, 100), default=6.0, show_default=True, help="Size of a frame.")
@_THREADS
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed, another roll.")
@click.option("--scanner", is_flag=True, help="Scan the film, in whole loads of a holder, from a virtual film scanner.")
def demo_command(output: Path, frames: int, megapixels: float, threads: int | None, seed: int, scanner: bool) -> None:
    """Scan a roll on dirty glass into a watched folder, and show what became of it.

    The scenes are generated, and the truth is known: the table says how much of the dirt went, and what it cost.
    DIR/contact-sheet.png shows it. DIR must be new, empty, or an earlier demo's, which is replaced.
    """
    from .demo import run_demo
    from .demo_scanner import run_scanner_demo

    run = run_scanner_demo if scanner else run_demo
    run(output, frames=frames, megapixels=megapixels, threads=threads or _cores(), seed=seed)


@cli.command("virtual-scanner")
@click.option(
    "--listen",
    "address",
    default="127.0.0.1:6566",
    show_default=True,
    metavar="ADDRESS[:PORT]",
    help="Where; SANE only looks at port 6566.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed, other film and dirt.")
@click.option("--repeat-frame", is_flag=True, help="Never change the film: the same window, the same pixels.")
@click.option(
    "--holder",
    metavar="NAME|FILE",
    help="Film lies in its slots. Without one, film fills whatever window is scanned.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND@WHEN",
    help="What goes wrong with the first scan, the second, ...: WHEN is start, or a share of its bytes.",
)
@click.option("--rate", type=_FloatRange(1), metavar="BYTES", help="So many bytes a second, no more.")
@click.option(
    "--button",
    "buttons",
    multiple=True,
    metavar="NAME@LOAD",
    help="Press a button when load number LOAD is ready to be scanned.",
)
def virtual_scanner_command(
    address: str,
    seed: int,
    repeat_frame: bool,
    holder: str | None,
    faults: tuple[str, ...],
    rate: float | None,
    buttons: tuple[str, ...],
) -> None:
    """Be a film scanner with dirt on its glass that any SANE program can scan from.

    Nothing is needed but SANE, whose network protocol it speaks; "ready" is printed when it does. There is a
    flatbed, a transparency unit and infrared, in 8 and 16 bit. When all its film has been scanned, new film lies
    there. The dirt stays, but for a little that comes and goes. The same seed and the same scans give the same
    pixels.

    \b
    Let SANE find it (a configuration of its own keeps the start short):
        mkdir sane; echo net > sane/dll.conf; echo 127.0.0.1 > sane/net.conf
        export SANE_CONFIG_DIR=$PWD/sane
    Which scanners are there, and what can they do?
        scanimage -L
        scanimage -d net:127.0.0.1:film -A
    Scan a frame of 36 x 24 mm:
        scanimage -d net:127.0.0.1:film --source "Transparency Unit" --resolution 1200 -x 36 -y 24 -o frame.tif

    While it runs, lines on its input are commands, each answered by a line:

    \b
        fault KIND WHEN         let a coming scan fail; WHEN is start, or a share like 0.5, KIND is jammed,
                                cover-open, no-documents, busy, io-error, short, stall, vanish, blank, white
                                or none (that scan goes well)
        rate BYTES | none       deliver no more in a second
        press BUTTON            scan, file, email or copy
        load                    put in new film
        wipe                    clean the glass, which gets dirty anew
        truth FOLDER [NUMBER]   write what film and dirt are in the last whole scan, or in an earlier one,
                                counted from 1, as film.npy, glass.npy and specks.npy
    """  # noqa: D301  (as above)
    from .virtual.console import run_virtual_scanner, virtual_scanner

    host, port = _host_and_port(address)
    scanner = virtual_scanner(seed, holder, repeat_frame=repeat_frame, faults=faults, rate=rate, buttons=buttons)
    run_virtual_scanner(scanner, host, port)


def _host_and_port(address: str) -> tuple[str, int]:
    """Split ``ADDRESS[:PORT]``; an IPv6 address with a port stands in brackets."""
    host, colon, port = address.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        return address.strip("[]"), 6566
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{port!r} is no port; write ADDRESS:PORT", param_hint="--listen")
    return host.strip("[]"), int(port)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@cli.command("devices")
@click.argument("device", required=False)
@click.option("--options", "all_options", is_flag=True, help="Show every option with its present value.")
def devices_command(device: str | None, all_options: bool) -> None:
    """List scanners, and what they have for film.

    DEVICE is one of them, by the name under which SANE has it; without it all are asked. Each line of "infrared" goes
    into a profile as it stands; names and values of options go into its scanner section.
    """
    from .scanner.fault import Fault, ScannerError
    from .scanner.listing import film_text, options_text
    from .scanner.session import devices, require_listed

    try:
        listed = {device: device} if device is not None else {each.name: str(each) for each in devices()}
    except ScannerError as error:
        raise ServiceError(str(error), ExitCode.SOME_FAILED) from error
    if not listed:
        what = "SANE finds no scanner; switch it on, or, if it hangs on another machine, name that in SANE's net.conf"
        raise ServiceError(what, ExitCode.SOME_FAILED)
    faults = []
    for name, heading in listed.items():
        try:
            told = options_text(name) if all_options else film_text(name)
        except ScannerError as error:
            if device is not None and error.fault is Fault.VANISHED:
                with suppress(ScannerError):
                    require_listed(name, [each.name for each in devices()])
            faults.append(str(error))
        else:
            click.echo(f"{heading}\n{told}")
    if faults:
        raise ServiceError("\n".join(faults), ExitCode.SOME_FAILED)


@cli.group()
def profiles() -> None:
    """Film profiles: what a scan holds and how it wants to be treated."""


@profiles.command("list")
def list_profiles() -> None:
    """List every profile that can be asked for by name."""
    from .film import known_profiles, read_profile

    rows = [("name", "extends", "encoding", "dirt", "description")]
    faults = []
    for file in known_profiles().values():
        try:
            profile = read_profile(file)
        except ServiceError as error:
            faults.append(str(error))
            continue
        scan = profile.scan
        encoding = f"gamma {scan.gamma:g}" if scan.encoding == "gamma" else scan.encoding
        rows.append((profile.name, profile.extends or "-", encoding, scan.dirt, profile.description))
    # One profile is one line, whatever its length: nothing is cut off, and grep finds it.
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if faults:
        raise ServiceError("\n".join(faults), ExitCode.USAGE)


@profiles.command("show")
@click.argument("name")
@click.option("--source", is_flag=True, help="Print the file as written, with its comments.")
def show_profile(name: str, source: bool) -> None:
    """Print all values of a profile.

    NAME is one of "profiles list", or a file. Inherited values and defaults are included.
    """
    from .film import find_profile, load_profile, to_yaml

    profile = load_profile(name)
    click.echo(find_profile(name).read_bytes() if source else to_yaml(profile), nl=False)


@profiles.command("check")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
def check_profiles(files: tuple[Path, ...]) -> None:
    """Find all that is wrong with profile files."""
    from .film import read_profile

    faults = []
    for file in files:
        try:
            read_profile(file)
        except ServiceError as error:
            faults.append(str(error))
        else:
            click.echo(f"{file}: ok")
    if faults:
        raise ServiceError("\n".join(faults), ExitCode.USAGE)


def main() -> None:
    """Run the command line and leave the process: the console entry point."""
    cli(prog_name="dustwatch")
