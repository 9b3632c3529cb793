//! Opening the database: whose file it is, its version, migrations, write-ahead log.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{Error, Result};

/// `Plns` in ASCII: says in the file's header that the database is ours.
const APPLICATION_ID: i64 = 0x506c_6e73;
/// How long a writer waits for another. Each writes for milliseconds; a disk that sleeps takes seconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two attempts where SQLite itself does not wait.
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// What brings the schema from version `idx` to `idx + 1`. Only ever appended to: files of every version are out there.
pub(super) const MIGRATIONS: [&str; 4] = [
    // 1: the runs.
    "CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        recorded_unix_secs INTEGER NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('speed', 'quality')),
        model_name TEXT NOT NULL,
        path TEXT NOT NULL,
        model_sha256 TEXT,
        reference_sha256 TEXT,
        level TEXT,
        recipe TEXT,
        size_bytes INTEGER NOT NULL,
        runtime TEXT NOT NULL,
        backend TEXT NOT NULL,
        machine TEXT NOT NULL,
        n_threads INTEGER NOT NULL,
        power_source TEXT NOT NULL,
        temperature_celsius REAL,
        decode_tokens_per_sec REAL,
        decode_spread REAL,
        prefill_tokens_per_sec REAL,
        prefill_spread REAL,
        peak_memory_bytes INTEGER,
        mean_kld REAL,
        mean_kld_low REAL,
        mean_kld_high REAL,
        ppl_ratio REAL,
        ppl_ratio_low REAL,
        ppl_ratio_high REAL,
        same_top REAL,
        same_top_low REAL,
        same_top_high REAL,
        verdict TEXT,
        n_tokens INTEGER,
        text_name TEXT,
        text_sha256 TEXT,
        planish TEXT NOT NULL,
        run TEXT NOT NULL
    ) STRICT;
    CREATE INDEX runs_by_time ON runs (recorded_unix_secs, id);",
    // 2: hashes of models, so that no file is read twice.
    "CREATE TABLE model_hashes (
        path TEXT PRIMARY KEY,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        sha256 TEXT NOT NULL
    ) STRICT;",
    // 3: verdicts on quality with their gates, beside the runs, so that a run may be judged again and keeps its numbers.
    "CREATE TABLE verdicts (
        run_id INTEGER PRIMARY KEY,
        decision TEXT NOT NULL,
        gates TEXT NOT NULL
    ) STRICT;",
    // 4: which file was made from which, so that a model's levels are found again wherever they are.
    "CREATE TABLE conversions (
        output TEXT PRIMARY KEY,
        source TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        source_blake3 TEXT NOT NULL
    ) STRICT;
    CREATE INDEX conversions_by_source ON conversions (size_bytes, mtime_ns, inode);",
];

/// Opens or makes the database and brings it to the version of `migrations`.
pub(super) fn open(path: &Path, migrations: &[&str]) -> Result<Connection> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let failed = error("open", path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(&failed)?;
    // Looked at before anything is written: somebody else's file stays as it is.
    let version = connection.transaction().map_err(&failed).and_then(|look| version(&look, path, migrations.len()))?;
    // A file that can only be read is good for browsing.
    if version == migrations.len() && connection.is_readonly(MAIN_DB).map_err(&failed)? {
        return Ok(connection);
    }
    use_write_ahead_log(&connection).map_err(&failed)?;
    // FULL, although NORMAL survives kill -9 too: with NORMAL a power cut may take the latest runs. A sync costs milliseconds, a run minutes.
    connection.pragma_update(None, "synchronous", "FULL").map_err(&failed)?;
    // Quality runs hold pieces of the user's text: what is deleted must not stay readable in the file.
    connection.pragma_update(None, "secure_delete", "ON").map_err(&failed)?;
    if version < migrations.len() {
        migrate(&mut connection, path, migrations)?;
    }
    Ok(connection)
}

/// The schema's version; 0 for a database without anything in it.
fn version(look: &Transaction<'_>, path: &Path, n_known: usize) -> Result<usize> {
    let failed = error("open", path);
    let number = |name: &str| look.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(&failed);
    let (application_id, version) = (number("application_id")?, number("user_version")?);
    if application_id != APPLICATION_ID {
        let n_tables: i64 = look.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(&failed)?;
        if (application_id, version, n_tables) == (0, 0, 0) {
            return Ok(0);
        }
        return Err(Error::NotAHistory { problem: "a database of another program".into(), path: path.to_path_buf() });
    }
    match usize::try_from(version) {
        Ok(version) if version <= n_known => Ok(version),
        _ => Err(Error::HistoryTooNew { found: version, known: n_known, path: path.to_path_buf() }),
    }
}

/// Turns on the write-ahead log: readers do not wait for writers, and a killed writer leaves nothing to repair. Where the file
/// system has no shared memory SQLite keeps its rollback journal, which is as safe.
fn use_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0)) {
            // Two that switch at once do not wait for each other by themselves.
            Err(error) if is_busy(&error) && Instant::now() < deadline => std::thread::sleep(RETRY_EVERY),
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Takes all missing steps in one transaction: a program killed midway leaves the old version.
fn migrate(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<()> {
    let failed = error("update", path);
    let step = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    // Another program may have done it while this one waited.
    let version = version(&step, path, migrations.len())?;
    for migration in migrations.iter().skip(version) {
        step.execute_batch(migration).map_err(&failed)?;
    }
    step.pragma_update(None, "application_id", APPLICATION_ID).map_err(&failed)?;
    let n_known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    step.pragma_update(None, "user_version", n_known).map_err(&failed)?;
    step.commit().map_err(&failed)
}

/// Turns SQLite's errors into the crate's; `action` completes "cannot … the history".
pub(super) fn error(action: &'static str, path: &Path) -> impl Fn(rusqlite::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |error| {
        let not_a_history = |problem: &str| Error::NotAHistory { problem: problem.into(), path: path.clone() };
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => not_a_history("another kind of file"),
            Some(ErrorCode::DatabaseCorrupt) => not_a_history("a damaged database"),
            _ => Error::History { action, reason: error.to_string(), path: path.clone() },
        }
    }
}
