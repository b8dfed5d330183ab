// Made by `make translations`: the strings of the scripts.
globalThis.metastoreWords = {
  "%(number)s device": "%(number)s Gerät",
  "%(number)s devices": "%(number)s Geräte",
  "Cannot be a device (3 to 255 characters, no quotation marks, < > \\ or `)": "Kann kein Gerät sein (3 bis 255 Zeichen, ohne Anführungszeichen, < > \\ oder `)",
  "Continue editing": "Damit weiterarbeiten",
  "Copied": "Kopiert",
  "Copy": "Kopieren",
  "Copy %(text)s": "%(text)s kopieren",
  "Discard it": "Verwerfen",
  "Kept, although not in a usual form such as E:TOR860 or dip/acc/x:y": "Behalten, obwohl nicht in einer üblichen Form wie E:TOR860 oder dip/acc/x:y",
  "Left out because it is in another column; if it is a device, put it on its own line": "Ausgelassen, weil es in einer anderen Spalte steht; ein Gerät gehört in eine eigene Zeile",
  "Listed more than once, counted once": "Mehrfach aufgeführt, einfach gezählt",
  "Looks like a column heading; remove it unless it is a device": "Sieht aus wie eine Spaltenüberschrift; entfernen Sie es, wenn es kein Gerät ist",
  "This text is %(size)s long; the limit is %(most)s.": "Dieser Text ist %(size)s lang; erlaubt sind %(most)s.",
  "What you typed is not saved. Change the language anyway?": "Ihre Eingaben sind nicht gespeichert. Trotzdem die Sprache wechseln?",
  "You have unsaved work from %(when)s, begun at an earlier revision.": "Sie haben nicht gespeicherte Eingaben vom %(when)s, begonnen bei einer früheren Revision.",
  "You have unsaved work from %(when)s.": "Sie haben nicht gespeicherte Eingaben vom %(when)s."
};
