"""What `open_disk` says, in German and English; {sheet} is 1 or 2 in the order of entry, {word} a word's place."""

from __future__ import annotations

from appliance.core.errors import PraxisError

ASK = "{sheet}. Blatt, alle 33 Wörter (bleiben unsichtbar) / sheet entry {sheet}, all 33 words (stay hidden): "
IS_OPEN = "Die Platte ist offen / the disk is open: /dev/mapper/{name}"
WOULD_OPEN = "Diese Blätter öffnen die Platte / these sheets open the disk"
OTHER = (
    "Das ging nicht ({code}). Rufen Sie den Hersteller an.",
    "That did not work ({code}). Call the vendor.",
)
TEXTS = {
    "kit_word_count": (
        "Beim {sheet}. Blatt sind es {count} Wörter; jedes Blatt hat 33.",
        "Sheet entry {sheet} has {count} words; every sheet has 33.",
    ),
    "kit_word_unknown": (
        "Beim {sheet}. Blatt gibt es das Wort Nummer {word} nicht. Die ersten vier Buchstaben genügen.",
        "Sheet entry {sheet}: there is no such word as number {word}. The first four letters are enough.",
    ),
    "kit_word_wrong": (
        "Beim {sheet}. Blatt ist das Wort Nummer {word} falsch abgeschrieben.",
        "Sheet entry {sheet}: word number {word} was copied wrong.",
    ),
    "kit_words_wrong": (
        "Beim {sheet}. Blatt sind mehrere Wörter falsch oder vertauscht.",
        "Sheet entry {sheet}: several words are wrong or in the wrong order.",
    ),
    "kit_sheet_foreign": (
        "Das {sheet}. Blatt ist kein Notfallblatt dieser Art.",
        "Sheet entry {sheet} is no emergency sheet of this kind.",
    ),
    "kit_same_sheet": (
        "Das ist zweimal dasselbe Blatt. Ein Blatt allein öffnet nichts.",
        "This is the same sheet twice. One sheet alone opens nothing.",
    ),
    "kit_sheets_differ": (
        "Die beiden Blätter gehören nicht zusammen. Nehmen Sie zwei, die mit denselben zwei Wörtern beginnen.",
        "The two sheets do not belong together. Take two that begin with the same two words.",
    ),
    "kit_sheets_wrong": (
        "Beide Blätter sind lesbar, aber eines davon ist nicht echt. Nehmen Sie das dritte dazu.",
        "Both sheets can be read, but one of them is not genuine. Take the third one, too.",
    ),
    "disk_slot_of_other_kit": (
        "Diese Datei öffnen andere Notfallblätter. Liegt eine zweite Datei daneben, nehmen Sie die.",
        "Other emergency sheets open this file. If there is a second file beside it, take that one.",
    ),
    "disk_slot_of_other_disk": (
        "Diese Datei gehört zu einer anderen Festplatte. Sie liegt auf der Startpartition derselben Platte.",
        "This file belongs to another disk. The right one is on the boot partition of the same disk.",
    ),
    "disk_slot_replaced": (
        "Die Blätter stimmen, aber die Platte öffnet sich damit nicht mehr: Es gibt neuere Notfallblätter.",
        "The sheets are right, but the disk does not open by them any more: there are newer emergency sheets.",
    ),
    "disk_slot": (
        "Die Datei ist beschädigt. Liegt eine zweite daneben, nehmen Sie die.",
        "The file is damaged. If there is a second one beside it, take that one.",
    ),
    "disk_slot_version": (
        "Die Datei ist von einer anderen Version. Nehmen Sie das Programm dieser Version.",
        "The file is of another version. Take the program of that version.",
    ),
    "disk_slot_file": ("Die Datei lässt sich nicht lesen:", "The file cannot be read:"),
    "no_luks": (
        "Dort ist keine verschlüsselte Partition (LUKS2), oder Sie sind nicht root.",
        "There is no encrypted partition (LUKS2) there, or you are not root.",
    ),
    "cryptsetup": (
        "cryptsetup ist nicht installiert oder scheitert. Sind Sie root? Ist der Name unter /dev/mapper noch frei?",
        "cryptsetup is not installed or fails. Are you root? Is the name under /dev/mapper still free?",
    ),
}


def explain(error: PraxisError) -> str:
    """Give what a failure means, in both languages, a line each."""
    return "\n".join(text.format(code=error.code, **error.details) for text in TEXTS.get(error.code, OTHER))
