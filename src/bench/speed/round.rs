//! One measurement of one model.

use std::path::Path;

use super::energy::{EnergyProbe, RoundEnergy, Span};
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::runtime::process::{ChildProcess, Polled};
use crate::runtime::{Event, Request, RuntimeInfo};

/// What one child measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    pub load_secs: f64,
    pub prefill_tokens_per_sec: f64,
    pub decode_tokens_per_sec: f64,
    pub peak_memory_bytes: u64,
    pub info: RuntimeInfo,
    pub energy: RoundEnergy,
}

/// Measures one model once, in a child of its own. `report` gets what is being done.
pub fn measure(
    exe: &Path,
    request: &Request,
    probe: &mut EnergyProbe,
    monitor: &Monitor,
    report: impl Fn(&str) -> Result<()>,
) -> Result<Round> {
    let path = request.path().map_or_else(|| exe.to_path_buf(), Clone::clone);
    let (mut loaded, mut prefill, mut decode, mut peak) = (None, None, None, None);
    let (mut phase_start, mut energy) = (None, RoundEnergy::default());
    let mut child = ChildProcess::spawn(exe, request)?;
    loop {
        let event = match child.poll_event(monitor)? {
            Polled::Event(event) => event,
            Polled::Nothing => {
                probe.tick();
                continue;
            }
            Polled::Ended => break,
        };
        match event {
            Event::Loaded { load_secs, info } => {
                loaded = Some((load_secs, info));
                report("prefill")?;
            }
            Event::WarmedUp => phase_start = probe.read(),
            Event::Prefill { tokens_per_sec } => {
                prefill = Some(tokens_per_sec);
                let now = probe.read();
                energy.prefill = Span::between(phase_start, now);
                phase_start = now;
                report("decode")?;
            }
            Event::Decode { tokens_per_sec } => {
                decode = Some(tokens_per_sec);
                energy.decode = Span::between(phase_start, probe.read());
            }
            Event::Done { peak_memory_bytes } => peak = Some(peak_memory_bytes),
            _ => {}
        }
    }
    match (loaded, prefill, decode, peak) {
        (Some((load_secs, info)), Some(prefill_tokens_per_sec), Some(decode_tokens_per_sec), Some(peak_memory_bytes)) => {
            Ok(Round { load_secs, prefill_tokens_per_sec, decode_tokens_per_sec, peak_memory_bytes, info, energy })
        }
        _ => Err(Error::ChildDied { reason: "it left out a measurement".into(), path }),
    }
}
