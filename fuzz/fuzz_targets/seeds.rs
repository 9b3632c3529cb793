//! Writes the seeds of all targets: `seeds FOLDER` makes `FOLDER/TARGET/NUMBER`.

#[path = "../../tests/it/golden_checkpoints.rs"]
mod golden_checkpoints;
#[path = "../readers.rs"]
mod readers;

fn main() -> std::io::Result<()> {
    let folder = std::path::PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "corpus".into()));
    for target in readers::TARGETS {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        for (idx, seed) in readers::seeds(target).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{idx}")), seed)?;
        }
    }
    Ok(())
}
