"""The station's words: what it does, what happened, and what to do. German first, then English."""

from __future__ import annotations

from appliance.core.errors import PraxisError

STEPS = {
    "keys": "Das Gerät macht seine Schlüssel … / The box makes its keys …",
    "register": "Das Portal nimmt das Gerät auf … / The portal registers the box …",
    "finish": "Die Einrichtung wird geschlossen … / Enrolment is closed …",
}

FAILURES = {
    "address": (
        "Die Adresse ist keine. Erwartet: Adresse:Port.",
        "That is no address. Expected: address:port.",
    ),
    "box_away": (
        "Das Gerät antwortet nicht. Kabel und Strom prüfen, eine Minute warten, noch einmal versuchen. Ein fertig "
        "eingerichtetes Gerät antwortet hier nicht mehr.",
        "The box does not answer. Check cable and power, wait a minute, run again. An enrolled box no longer "
        "answers here.",
    ),
    "bench_certificate": (
        "Am anderen Ende ist nicht das erwartete Gerät. Das Kabel direkt in das Gerät stecken.",
        "The other end is not the box expected. Plug the cable straight into the box.",
    ),
    "provisioned": (
        "Das Gerät ist schon eingerichtet. Es bleibt, wie es ist.",
        "The box is enrolled already. It stays as it is.",
    ),
    "order": (
        "Das Gerät versteht den Auftrag nicht. Station und Gerät sind von verschiedenen Ständen.",
        "The box does not understand the order. Station and box are of different releases.",
    ),
    "parameters": (
        "Eine Angabe ist ungültig: Hostnamen, Ports und Seriennummer prüfen (A-Z, 0-9, Bindestrich).",
        "A value is not valid: check host names, ports and serial (A-Z, 0-9, hyphen).",
    ),
    "portal_away": (
        "Das Portal antwortet nicht, oder sein Zertifikat ist nicht von der angegebenen Stelle. Adresse, Name, Datei "
        "prüfen, dann noch einmal: das Gerät behält seine Schlüssel.",
        "The portal does not answer, or its certificate is not from the authority given. Check address, name, file, "
        "then run again: the box keeps its keys.",
    ),
    "portal_refuses": (
        "Das Portal kennt diese Station nicht. Den Schlüssel der Station dort eintragen lassen.",
        "The portal does not list this station. Have the station's key added there.",
    ),
    "box_taken": (
        "Dieses Gerät ist dort mit einem anderen Schlüssel eingetragen. Gerät beiseite legen und melden.",
        "The portal has this box with another key. Put the box aside and report it.",
    ),
    "device_key_taken": (
        "Dieser Schlüssel gehört schon einem anderen Gerät. Gerät beiseite legen und melden.",
        "This key belongs to another box already. Put the box aside and report it.",
    ),
    "host_name_taken": (
        "Der Hostname gehört schon einem anderen Gerät. Einen anderen wählen.",
        "The host name belongs to another box already. Choose another.",
    ),
    "record_superseded": (
        "Das Portal hat schon einen neueren Eintrag. Die Uhr der Station prüfen.",
        "The portal has a later record already. Check the station's clock.",
    ),
    "device_record": (
        "Das Portal nimmt den Eintrag nicht. Hostnamen prüfen.",
        "The portal does not take the record. Check the host names.",
    ),
    "station_key": (
        "Der Schlüssel der Station fehlt oder ist keiner: python -m provisioning.station new-key.",
        "The station's key is missing or is none: python -m provisioning.station new-key.",
    ),
    "key_open": (
        "Andere dürfen den Schlüssel der Station lesen. chmod 600.",
        "Others may read the station's key. chmod 600.",
    ),
    "key_exists": (
        "Die Datei gibt es schon; sie bleibt, wie sie ist.",
        "The file exists already; it stays as it is.",
    ),
}
OTHERWISE = ("Das Gerät meldet einen Fehler. Noch einmal versuchen.", "The box reports a failure. Run again.")


def explain(error: PraxisError) -> str:
    """Give two sentences for a failure, and its code for the vendor."""
    german, english = FAILURES.get(error.code, OTHERWISE)
    return f"{german}\n{english}\n({error.family}: {error.code})"
