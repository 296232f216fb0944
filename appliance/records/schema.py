"""The database's schema as the list of steps that made it; a step is never changed, only followed by another.

Rules: every identifier is random and means nothing; owner and document are one key (docs/threats.md, A16); a name
stands in patients, documents and what they are found by (patient_words, document_words, document_texts) only, so that
deleting the rows erases it. Layout: docs/formats/records-store.md.
"""

from __future__ import annotations

#: The index of search.py.
DOCUMENT_WORDS = (
    """
    CREATE VIRTUAL TABLE document_words USING fts5 (
        names, words, tokenize = 'ascii', detail = 'column', prefix = '2 3'
    )
    """,
    "INSERT INTO document_words (document_words, rank) VALUES ('secure-delete', 1)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE patients (
            patient TEXT PRIMARY KEY,
            family_name TEXT NOT NULL,
            given_name TEXT NOT NULL,
            birth_date TEXT NOT NULL,
            number TEXT NOT NULL,
            match_key TEXT NOT NULL,
            changed_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX patients_by_person ON patients (birth_date, match_key)",
        "CREATE INDEX patients_by_number ON patients (number) WHERE number <> ''",
        "CREATE INDEX patients_by_name ON patients (match_key, patient)",
        """
        CREATE TABLE patient_words (
            word TEXT NOT NULL,
            patient TEXT NOT NULL REFERENCES patients ON DELETE CASCADE,
            PRIMARY KEY (word, patient)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX patient_words_by_patient ON patient_words (patient)",
        """
        CREATE TABLE documents (
            patient TEXT NOT NULL REFERENCES patients,
            document TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL,
            title TEXT NOT NULL,
            name TEXT NOT NULL,
            media_type TEXT NOT NULL,
            length INTEGER NOT NULL,
            sealed_length INTEGER NOT NULL,
            sealed_sha256 BLOB NOT NULL CHECK (length(sealed_sha256) = 32),
            wrapped_key BLOB NOT NULL CHECK (length(wrapped_key) = 60),
            file TEXT NOT NULL UNIQUE,
            added_at INTEGER NOT NULL,
            added_by TEXT NOT NULL,
            PRIMARY KEY (patient, document)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE intake_keys (
            principal TEXT NOT NULL,
            idempotency_key TEXT NOT NULL,
            document TEXT NOT NULL REFERENCES documents (document) ON DELETE CASCADE,
            content_sha256 BLOB NOT NULL CHECK (length(content_sha256) = 32),
            PRIMARY KEY (principal, idempotency_key)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX intake_keys_by_document ON intake_keys (document)",
        """
        CREATE TABLE shares (
            share TEXT PRIMARY KEY,
            locator TEXT NOT NULL UNIQUE,
            patient TEXT NOT NULL REFERENCES patients ON DELETE CASCADE,
            expires_at INTEGER NOT NULL,
            ended INTEGER NOT NULL DEFAULT 0
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX shares_by_patient ON shares (patient)",
        """
        CREATE TABLE share_documents (
            share TEXT NOT NULL REFERENCES shares ON DELETE CASCADE,
            document TEXT NOT NULL REFERENCES documents (document) ON DELETE CASCADE,
            PRIMARY KEY (share, document)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX share_documents_by_document ON share_documents (document)",
    ),
    (
        # What search.py finds documents by. `number` orders them by when they came and is never used twice.
        """
        CREATE TABLE document_texts (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            document TEXT NOT NULL UNIQUE REFERENCES documents (document),
            text TEXT NOT NULL
        ) STRICT
        """,
        *DOCUMENT_WORDS,
    ),
    (
        # A document's picture: a sealed file of its own under an identifier and a key of its own.
        """
        CREATE TABLE previews (
            document TEXT PRIMARY KEY REFERENCES documents (document) ON DELETE CASCADE,
            preview TEXT NOT NULL UNIQUE,
            length INTEGER NOT NULL,
            sealed_length INTEGER NOT NULL,
            sealed_sha256 BLOB NOT NULL CHECK (length(sealed_sha256) = 32),
            wrapped_key BLOB NOT NULL CHECK (length(wrapped_key) = 60),
            file TEXT NOT NULL UNIQUE
        ) STRICT, WITHOUT ROWID
        """,
        # What preview has still to look at, and how often it did.
        """
        CREATE TABLE pending_previews (
            number INTEGER PRIMARY KEY,
            document TEXT NOT NULL UNIQUE REFERENCES documents (document) ON DELETE CASCADE,
            attempts INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """,
        "INSERT INTO pending_previews (document) SELECT document FROM documents WHERE media_type = 'application/pdf'",
    ),
    (
        # Which erasure key a document's key is wrapped under, and how far its turning has come (erasure.py).
        "ALTER TABLE documents ADD COLUMN key_generation INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE previews ADD COLUMN key_generation INTEGER NOT NULL DEFAULT 1",
        """
        CREATE TABLE erasure (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            generation INTEGER NOT NULL,
            finished INTEGER NOT NULL,
            erased INTEGER NOT NULL DEFAULT 0,
            turned INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """,
        "INSERT INTO erasure (only_row, generation, finished) VALUES (1, 0, 0)",
        # The time by which retention periods are counted (retention.py); 0 before it is first set.
        """
        CREATE TABLE retention_clock (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            at INTEGER NOT NULL
        ) STRICT
        """,
        "INSERT INTO retention_clock VALUES (1, 0)",
    ),
    (
        # Which box a file was sealed on, and is bound to; '' is this one (docs/formats/backup.md).
        "ALTER TABLE documents ADD COLUMN sealed_for TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE previews ADD COLUMN sealed_for TEXT NOT NULL DEFAULT ''",
        # The shares that were open on the box that this one replaces, until they are made anew (earlier_shares.py).
        """
        CREATE TABLE earlier_shares (
            share TEXT PRIMARY KEY,
            patient TEXT NOT NULL REFERENCES patients ON DELETE CASCADE,
            expires_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX earlier_shares_by_patient ON earlier_shares (patient)",
        """
        CREATE TABLE earlier_share_documents (
            share TEXT NOT NULL REFERENCES earlier_shares ON DELETE CASCADE,
            document TEXT NOT NULL REFERENCES documents (document) ON DELETE CASCADE,
            PRIMARY KEY (share, document)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX earlier_share_documents_by_document ON earlier_share_documents (document)",
    ),
    (
        # What was erased (erased.py).
        """
        CREATE TABLE erased (
            kind TEXT NOT NULL CHECK (kind IN ('document', 'patient')),
            identifier TEXT NOT NULL,
            at INTEGER NOT NULL,
            PRIMARY KEY (kind, identifier)
        ) STRICT, WITHOUT ROWID
        """,
        # The last snapshot; the same row is in the snapshot (snapshot.py).
        """
        CREATE TABLE last_snapshot (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            snapshot TEXT NOT NULL,
            taken_at INTEGER NOT NULL,
            patients INTEGER NOT NULL,
            documents INTEGER NOT NULL,
            files INTEGER NOT NULL,
            bytes INTEGER NOT NULL
        ) STRICT
        """,
        # The restore that is under way, and the folders whose files it still lacks (restoring.py).
        """
        CREATE TABLE restore (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            box TEXT NOT NULL,
            generation INTEGER NOT NULL,
            sealed_at INTEGER NOT NULL,
            given_up INTEGER NOT NULL DEFAULT 0,
            erased INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """,
        "CREATE TABLE restore_folders (folder TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
    ),
    (
        # Whether what was erased since is erased again; how often a folder was asked for and nothing lay there.
        "ALTER TABLE restore ADD COLUMN erased_again INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE restore_folders ADD COLUMN found_empty INTEGER NOT NULL DEFAULT 0",
        # What the copy's own rows say was erased before it; documents and previews whose key did not open.
        """
        CREATE TABLE restore_erased (
            kind TEXT NOT NULL,
            identifier TEXT NOT NULL,
            at INTEGER NOT NULL,
            PRIMARY KEY (kind, identifier)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE TABLE restore_keys_lost (identifier TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
    ),
)
