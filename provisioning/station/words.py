"""The station's words: what it does, what happened, and what to do. German first, then English."""

from __future__ import annotations

from appliance.core.errors import Invalid, NotFound, PraxisError, Refused, Tampered, Unavailable

#: Exit status by family: 2 correct the input, 3 run again, 4 somebody must decide, 5 stop and look.
EXIT_STATUSES: dict[type[PraxisError], int] = {Invalid: 2, NotFound: 2, Unavailable: 3, Refused: 4, Tampered: 5}

STEPS = {
    "bench_pinned": "Das Gerät zeigt das erwartete Zertifikat. / The box shows the certificate expected.",
    "bench_trusted": "Niemand bürgt für das Zertifikat des Geräts: dem Kabel wird vertraut. / Nobody vouches for the "
    "box's certificate: the cable is trusted.\n  SHA-256 {sha256}",
    "keys": "Das Gerät macht seine Schlüssel … / The box makes its keys …",
    "register": "Das Portal nimmt das Gerät auf … / The portal registers the box …",
    "finish": "Die Einrichtung wird geschlossen … / Enrolment is closed …",
    "finished_before": "Die Einrichtung war schon geschlossen; das Blatt gilt. / Enrolment was closed already; the "
    "sheet holds.",
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
    "box_answer": (
        "Die Antwort ist keine des Geräts. Adresse und Port prüfen; sonst sind Station und Gerät von verschiedenen "
        "Ständen.",
        "The answer is not a box's. Check address and port; else station and box are of different releases.",
    ),
    "bench_certificate": (
        "Am anderen Ende ist nicht das erwartete Gerät. Das Kabel direkt in das Gerät stecken; wurde das Gerät neu "
        "gestartet, hat es ein neues Zertifikat.",
        "The other end is not the box expected. Plug the cable straight into the box; a box that was restarted has a "
        "new certificate.",
    ),
    "provisioned": (
        "Das Gerät ist schon eingerichtet. Es bleibt, wie es ist.",
        "The box is enrolled already. It stays as it is.",
    ),
    "ticket": (
        "Inzwischen hat jemand anderes dem Gerät einen Auftrag gegeben, oder es wurde neu gestartet. Nichts wurde "
        "geschlossen. Prüfen, wer am Kabel hängt, dann noch einmal.",
        "Somebody else gave the box an order meanwhile, or it was restarted. Nothing was closed. See who else is on "
        "the cable, then run again.",
    ),
    "order": (
        "Das Gerät versteht den Auftrag nicht. Station und Gerät sind von verschiedenen Ständen.",
        "The box does not understand the order. Station and box are of different releases.",
    ),
    "serial": (
        "Die Seriennummer ist keine: 4 bis 32 Zeichen aus A-Z, 0-9 und Bindestrich.",
        "That is no serial: 4 to 32 characters of A-Z, 0-9 and hyphen.",
    ),
    "host": (
        "Einer der Hostnamen ist keiner: Kleinbuchstaben, Ziffern, Bindestrich, Punkt.",
        "One of the host names is none: lower-case letters, digits, hyphen, dot.",
    ),
    "portal_name": (
        "Der Name des Portals ist kein Hostname.",
        "The portal's name is no host name.",
    ),
    "portal_ca": (
        "Die Datei mit der Zertifizierungsstelle des Portals fehlt oder ist kein PEM.",
        "The file with the portal's authority is missing or is no PEM.",
    ),
    "portal_away": (
        "Unter diesem Namen antwortet dort kein Portal. Adresse, Namen und Netz prüfen, dann noch einmal: das Gerät "
        "behält seine Schlüssel.",
        "No portal of this name answers there. Check address, name and network, then run again: the box keeps its "
        "keys.",
    ),
    "portal_answer": (
        "Die Antwort ist keine des Portals. Adresse und Namen prüfen, dann noch einmal.",
        "The answer is not a portal's. Check address and name, then run again.",
    ),
    "portal_certificate": (
        "Das Zertifikat des Portals ist nicht von der angegebenen Stelle oder nicht auf diesen Namen. Das Gerät "
        "nicht ausliefern, bevor das geklärt ist.",
        "The portal's certificate is not from the authority given, or not for this name. Do not hand the box over "
        "before that is settled.",
    ),
    "station": (
        "Das Portal nimmt von dieser Station nichts an. Den Schlüssel der Station dort eintragen lassen, den Namen "
        "des Portals prüfen.",
        "The portal takes nothing from this station. Have the station's key added there, check the portal's name.",
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
    "sheet": (
        "Die Datei für das Blatt ist etwas anderes. Eine andere nennen.",
        "The file for the sheet is something else. Name another.",
    ),
    "sheet_taken": (
        "In der Datei steht das Blatt eines anderen Geräts. Eine andere nennen.",
        "The file holds the sheet of another box. Name another.",
    ),
    "sheet_folder": (
        "Das Blatt lässt sich nicht schreiben. Ordner und Platz prüfen, dann noch einmal: nichts ist verloren.",
        "The sheet cannot be written. Check folder and space, then run again: nothing is lost.",
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
    "key_folder": (
        "Der Schlüssel lässt sich dort nicht anlegen. Ordner prüfen.",
        "The key cannot be made there. Check the folder.",
    ),
}
OTHERWISE = ("Das Gerät meldet einen Fehler. Noch einmal versuchen.", "The box reports a failure. Run again.")


def explain(error: PraxisError) -> str:
    """Give two sentences for a failure, and its code for the vendor."""
    german, english = FAILURES.get(error.code, OTHERWISE)
    return f"{german}\n{english}\n({error.family}: {error.code})"
