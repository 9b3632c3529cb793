//! Folders for MLX, made from tiny checkpoints of every architecture. `tests/oracles/check_mlx.py` compares their bytes with
//! those of `mlx_lm.convert`; for it, `PLANISH_MLX_OUT` names a folder that keeps checkpoints and outputs.

use std::path::PathBuf;

use planish::convert::{ConvertRequest, VerifyRequest, convert, open_model, preflight, verify};
use planish::error::Error;
use planish::format::{Opened, read_any};
use planish::import::mlx_hindrance;
use planish::model::{Framework, Level};
use planish::monitor::Monitor;

use crate::common::{folder_size, smollm2};
use crate::golden_checkpoints::{cases, write};
use crate::hf_layout;

/// One of each kind: floats, affine modes, a mixed recipe, modes of shared scales.
const LEVELS: [&str; 7] =
    ["mlx:bf16", "mlx:8-bit-g64", "mlx:4-bit-g32", "mlx:3-bit-g32", "mlx:mixed_3_6", "mlx:mxfp4", "mlx:nvfp4"];

fn folder() -> (PathBuf, Option<tempfile::TempDir>) {
    if let Some(folder) = std::env::var_os("PLANISH_MLX_OUT") {
        return (folder.into(), None);
    }
    let folder = tempfile::tempdir().unwrap();
    (folder.path().to_path_buf(), Some(folder))
}

#[test]
fn every_architecture_of_both_is_written_as_planned() {
    let (folder, _temporary) = folder();
    let (mut n_written, mut n_quantized, mut refused) = (0, 0, Vec::new());
    for (name, case) in cases() {
        let checkpoint = write(&case, &folder.join("checkpoints").join(&name));
        let Ok(model) = open_model(&checkpoint.path) else { continue };
        let out = folder.join("out").join(&name);
        for level in LEVELS {
            let level: Level = level.parse().unwrap();
            let request = ConvertRequest::new(vec![level], &out);
            match convert(&model, &request, &Monitor::silent()) {
                Ok(made) => {
                    let made = &made[0];
                    let size = folder_size(&made.path);
                    assert_eq!(made.size_bytes, size, "{name} {level}");
                    let request = VerifyRequest { path: made.path.clone(), source: Some(checkpoint.path.clone()), imatrix: None };
                    let found = verify(&request, &Monitor::silent()).unwrap();
                    assert_eq!(found.findings, [""; 0], "{name} {level}");
                    // The folder is a checkpoint that says what it is.
                    let Opened::Checkpoint(read) = read_any(&made.path).unwrap() else { panic!("{name}") };
                    let has_scales = read.tensors.iter().any(|tensor| tensor.name.ends_with(".scales"));
                    assert_eq!(read.config.unwrap().quantization.is_some(), has_scales, "{name} {level}");
                    n_quantized += usize::from(has_scales);
                    n_written += 1;
                }
                Err(Error::CannotWrite { .. }) => refused.push(format!("{name} {level}")),
                Err(error) => panic!("{name} {level}: {error}"),
            }
        }
        let hindrance = mlx_hindrance(checkpoint.config.as_ref().unwrap());
        assert_eq!(hindrance.is_some(), !out.exists(), "{name}: {hindrance:?}");
    }
    println!("{n_written} folders, {n_quantized} quantized, refused: {refused:?}");
    assert!(n_written > 150 && n_quantized > 100, "{n_written} {n_quantized}");
}

#[test]
fn smollm2_is_written_as_planned() {
    let (folder, _temporary) = folder();
    let checkpoint = folder.join("checkpoints/smollm2/SmolLM2-135M-Instruct");
    std::fs::create_dir_all(checkpoint.parent().unwrap()).unwrap();
    hf_layout::write(&smollm2(), &checkpoint);
    let model = open_model(&checkpoint).unwrap();
    let levels = ["mlx:8-bit-g64", "mlx:4-bit-g64"].map(|name| name.parse::<Level>().unwrap());
    let made = convert(&model, &ConvertRequest::new(levels.to_vec(), folder.join("out/smollm2")), &Monitor::silent()).unwrap();
    for made in made {
        assert_eq!(made.size_bytes, folder_size(&made.path), "{}", made.level);
        let request = VerifyRequest { path: made.path, source: Some(checkpoint.clone()), imatrix: None };
        assert_eq!(verify(&request, &Monitor::silent()).unwrap().findings, [""; 0]);
    }
}

#[test]
fn every_level_of_the_table_is_planned_for_the_sample() {
    let folder = tempfile::tempdir().unwrap();
    let model = open_model(&planish::convert::unpack_sample(folder.path()).unwrap()).unwrap();
    let levels: Vec<Level> = Level::of(Framework::Mlx).collect();
    let plan = preflight(&model, &ConvertRequest::new(levels.clone(), folder.path())).unwrap();
    assert_eq!(plan.outputs.iter().map(|output| output.level).collect::<Vec<_>>(), levels);
    // Fewer bits, smaller folders, group by group.
    let bits = |name: &str| plan.outputs.iter().find(|output| output.level.name() == name).unwrap().bits_per_weight;
    assert!(bits("mlx:bf16") > bits("mlx:8-bit-g64") && bits("mlx:8-bit-g64") > bits("mlx:4-bit-g64"));
    assert!(bits("mlx:4-bit-g32") > bits("mlx:4-bit-g64") && bits("mlx:4-bit-g64") > bits("mlx:4-bit-g128"));
    assert!(bits("mlx:mixed_3_6") > bits("mlx:3-bit-g64") && bits("mlx:mixed_3_6") < bits("mlx:6-bit-g64"));
}
