//! How much energy the machine uses: the processor's own counter, or else the discharge of the battery.

use std::time::{Duration, Instant};

use super::root::Root;

/// Where the kernel shows the power zones. Source: Documentation/power/powercap/powercap.rst, Linux.
const ZONES: &str = "/sys/class/powercap";
const SUPPLIES: &str = "/sys/class/power_supply";
/// Often enough that a counter of 65 kJ, the smallest range that packages have, does not go round twice in between at 60 kW.
const RAPL_INTERVAL: Duration = Duration::from_secs(1);
/// Firmware tells the battery's power about once a second, and each question costs some time.
const BATTERY_INTERVAL: Duration = Duration::from_millis(500);
/// The counter is renewed about every millisecond. Source: Intel 64 SDM, volume 3, "RAPL Interfaces".
const RAPL_SHORTEST_SECS: f64 = 0.05;
/// Time for some answers of the firmware.
const BATTERY_SHORTEST_SECS: f64 = 3.0;
/// A laptop that claims more has a broken driver.
const MAX_BATTERY_WATTS: f64 = 1000.0;
const MICRO: f64 = 1e-6;

/// Why energy cannot be measured here, in words for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotMeasurable {
    /// Completes `not measurable here, because …`.
    pub reason: String,
}

/// A point in time and the energy used until then, both since the meter was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EnergyReading {
    /// Time in seconds.
    pub secs: f64,
    /// Energy in joules.
    pub joules: f64,
}

/// Adds up the energy that the machine uses, from the moment it was found.
#[derive(Debug)]
pub struct EnergyMeter {
    root: Root,
    source: Source,
    started: Instant,
    joules: f64,
    /// When the source was last asked, in seconds since the start.
    asked_secs: f64,
    lost: Option<NotMeasurable>,
}

#[derive(Debug)]
enum Source {
    /// Counters of the processor packages.
    Rapl(Vec<Zone>),
    /// Power of the discharging batteries together, in watts, when they were last asked.
    Battery { watts: f64 },
}

/// The counter of one package.
#[derive(Debug, PartialEq)]
struct Zone {
    /// `/sys/class/powercap/intel-rapl:0`.
    folder: String,
    /// It starts again from 0 after this value; `None` when the kernel does not tell.
    range_microjoules: Option<u64>,
    last_microjoules: u64,
}

impl EnergyMeter {
    /// The best meter of this machine.
    ///
    /// # Errors
    /// `NotMeasurable` with the reason.
    pub fn find() -> Result<Self, NotMeasurable> {
        if cfg!(target_os = "linux") {
            Self::find_at(Root::real())
        } else {
            Err(NotMeasurable { reason: "this version reads energy on Linux only".into() })
        }
    }

    /// The best meter of the machine below `root`.
    fn find_at(root: Root) -> Result<Self, NotMeasurable> {
        let source = match zones(&root) {
            Ok(zones) => Source::Rapl(zones),
            Err(no_counter) => match battery_watts(&root) {
                Ok(watts) => Source::Battery { watts },
                // A counter that is closed can be opened: that helps more than a word about the battery.
                Err(no_battery) => return Err(no_counter.unwrap_or(no_battery)),
            },
        };
        Ok(Self { root, source, started: Instant::now(), joules: 0.0, asked_secs: 0.0, lost: None })
    }

    /// What is measured: `processor package (RAPL)`, `whole machine (battery discharge)`.
    #[must_use]
    pub fn source_text(&self) -> String {
        match &self.source {
            Source::Rapl(zones) if zones.len() == 1 => "processor package (RAPL)".into(),
            Source::Rapl(zones) => format!("{} processor packages (RAPL)", zones.len()),
            Source::Battery { .. } => "whole machine (battery discharge)".into(),
        }
    }

    /// The shortest time in seconds that is worth measuring: a shorter one tells more about the meter than about the machine.
    #[must_use]
    pub fn shortest_secs(&self) -> f64 {
        match self.source {
            Source::Rapl(_) => RAPL_SHORTEST_SECS,
            Source::Battery { .. } => BATTERY_SHORTEST_SECS,
        }
    }

    /// Asks the source if that is due. Call it several times a second while something is measured: a counter goes round, and a battery tells
    /// only its power.
    pub fn tick(&mut self) {
        let secs = self.started.elapsed().as_secs_f64();
        let interval = match self.source {
            Source::Rapl(_) => RAPL_INTERVAL,
            Source::Battery { .. } => BATTERY_INTERVAL,
        };
        if secs - self.asked_secs >= interval.as_secs_f64() {
            self.ask(secs);
        }
    }

    /// Time and energy now; `None` once the source has failed.
    pub fn read(&mut self) -> Option<EnergyReading> {
        let secs = self.started.elapsed().as_secs_f64();
        self.ask(secs);
        self.lost.is_none().then_some(EnergyReading { secs, joules: self.joules })
    }

    /// Why the source has failed, if it has.
    #[must_use]
    pub fn lost(&self) -> Option<&NotMeasurable> {
        self.lost.as_ref()
    }

    fn ask(&mut self, secs: f64) {
        if self.lost.is_some() {
            return;
        }
        let used = match &mut self.source {
            Source::Rapl(zones) => zones.iter_mut().try_fold(0.0, |sum, zone| Some(sum + zone.used_joules(&self.root)?)),
            Source::Battery { watts } => battery_watts(&self.root).ok().map(|now| {
                let mean = f64::midpoint(*watts, now);
                *watts = now;
                mean * (secs - self.asked_secs)
            }),
        };
        self.asked_secs = secs;
        let reason = match (used, &self.source) {
            (Some(used), _) => {
                self.joules += used;
                return;
            }
            (None, Source::Rapl(_)) => "the energy counter could not be read any more",
            (None, Source::Battery { .. }) => "the battery stopped discharging during the measurement",
        };
        self.lost = Some(NotMeasurable { reason: reason.into() });
    }
}

impl Zone {
    /// Energy since the last call.
    #[allow(clippy::cast_precision_loss, reason = "2^53 microjoules are 2.5 MWh")]
    fn used_joules(&mut self, root: &Root) -> Option<f64> {
        let now: u64 = root.number(&format!("{}/energy_uj", self.folder))?;
        let used = match now.checked_sub(self.last_microjoules) {
            Some(used) => used,
            None => now.checked_add(self.range_microjoules?.checked_sub(self.last_microjoules)?)?,
        };
        self.last_microjoules = now;
        Some(used as f64 * MICRO)
    }
}

/// The packages' counters; all or none, because the energy of one of two sockets is not that of the machine. `Err(None)`
/// without a counter, `Err` with the reason where one cannot be read.
///
/// Intel's and AMD's are shown alike. Zones inside a package (`core`, `dram`), around it (`psys`) and the copies of `intel-rapl-mmio` would
/// count the same energy twice.
fn zones(root: &Root) -> Result<Vec<Zone>, Option<NotMeasurable>> {
    let folders =
        root.list(ZONES).into_iter().filter(|name| name.starts_with("intel-rapl:")).map(|name| format!("{ZONES}/{name}"));
    let is_package = |folder: &String| root.text(&format!("{folder}/name")).is_some_and(|name| name.starts_with("package-"));
    let mut zones = Vec::new();
    for folder in folders.filter(is_package) {
        let path = format!("{folder}/energy_uj");
        let Some(last_microjoules) = root.number(&path) else {
            // Closed since Linux 5.10, because the counter tells what a program computes (CVE-2020-8694).
            let reason = format!(
                "only the administrator may read the processor's energy counter; “sudo chmod a+r {path}” opens it until the next start"
            );
            return Err(Some(NotMeasurable { reason }));
        };
        zones.push(Zone { range_microjoules: root.number(&format!("{folder}/max_energy_range_uj")), folder, last_microjoules });
    }
    if zones.is_empty() { Err(None) } else { Ok(zones) }
}

/// Power that the batteries deliver together.
///
/// Source: Documentation/ABI/testing/sysfs-class-power, Linux: `power_now` in microwatts, `current_now` in microamperes, `voltage_now` in
/// microvolts. Some drivers give a discharging current a sign.
fn battery_watts(root: &Root) -> Result<f64, NotMeasurable> {
    let mut watts = None;
    let mut is_silent = false;
    for name in root.list(SUPPLIES) {
        let file = |attribute: &str| root.text(&format!("{SUPPLIES}/{name}/{attribute}"));
        // A mouse has a battery too.
        let is_battery =
            file("type").is_some_and(|kind| kind == "Battery") && file("scope").is_none_or(|scope| scope != "Device");
        if !is_battery || file("status").is_none_or(|status| status != "Discharging") {
            continue;
        }
        let micro = |attribute: &str| Some(file(attribute)?.parse::<f64>().ok()?.abs() * MICRO);
        let told = micro("power_now").or_else(|| Some(micro("current_now")? * micro("voltage_now")?));
        match told.filter(|watts| *watts > 0.0 && *watts < MAX_BATTERY_WATTS) {
            Some(more) => watts = Some(watts.unwrap_or(0.0) + more),
            None => is_silent = true,
        }
    }
    match watts {
        Some(watts) if !is_silent => Ok(watts),
        _ if is_silent => Err(NotMeasurable { reason: "the battery does not tell how much power it delivers".into() }),
        _ => {
            Err(NotMeasurable { reason: "the processor shows no energy counter and the machine does not run on battery".into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::unpacked;
    use super::*;

    fn tree(files: &[(&str, &str)]) -> String {
        files.iter().fold(String::new(), |tree, (path, text)| format!("{tree}-- {path} --\n{text}\n"))
    }

    /// Changes files of an unpacked machine.
    fn change(dir: &tempfile::TempDir, files: &[(&str, &str)]) {
        for (path, text) in files {
            std::fs::write(dir.path().join(path.trim_start_matches('/')), text).unwrap();
        }
    }

    /// Energy counted until `secs`.
    fn joules_at(meter: &mut EnergyMeter, secs: f64) -> Option<f64> {
        meter.ask(secs);
        meter.lost.is_none().then_some(meter.joules)
    }

    fn is_near(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() < 1e-9)
    }

    const ONE: &str = include_str!("../../tests/fixtures/hardware/rapl_one_package.tree");
    const TWO: &str = include_str!("../../tests/fixtures/hardware/rapl_two_packages.tree");

    #[test]
    fn one_package_counts_without_its_parts() {
        let dir = unpacked(ONE);
        let mut meter = EnergyMeter::find_at(Root::at(dir.path())).unwrap();
        assert_eq!(meter.source_text(), "processor package (RAPL)");
        assert!(is_near(joules_at(&mut meter, 0.1), 0.0));
        change(
            &dir,
            &[
                ("/sys/class/powercap/intel-rapl:0/energy_uj", "26215000000"),
                ("/sys/class/powercap/intel-rapl:0:0/energy_uj", "9"),
            ],
        );
        assert!(is_near(joules_at(&mut meter, 1.0), 15.0), "{meter:?}");
    }

    #[test]
    fn packages_add_up() {
        let dir = unpacked(TWO);
        let mut meter = EnergyMeter::find_at(Root::at(dir.path())).unwrap();
        assert_eq!(meter.source_text(), "2 processor packages (RAPL)");
        let files = [
            ("/sys/class/powercap/intel-rapl:0/energy_uj", "1500000"),
            ("/sys/class/powercap/intel-rapl:1/energy_uj", "4000000"),
        ];
        change(&dir, &files);
        assert!(is_near(joules_at(&mut meter, 1.0), 0.5 + 2.0), "{meter:?}");
    }

    #[test]
    fn a_counter_goes_round() {
        let dir = unpacked(ONE);
        let mut meter = EnergyMeter::find_at(Root::at(dir.path())).unwrap();
        let counter = "/sys/class/powercap/intel-rapl:0/energy_uj";
        change(&dir, &[(counter, "262143000000")]);
        meter.ask(1.0);
        let before = meter.joules;
        // 328,850 µJ to the end of the range, then 5 J.
        change(&dir, &[(counter, "5000000")]);
        assert!(is_near(joules_at(&mut meter, 2.0), before + 0.328_850 + 5.0), "{meter:?}");
    }

    #[test]
    fn a_counter_that_vanishes_or_goes_back_without_a_range_is_lost() {
        let check = |change_it: &dyn Fn(&tempfile::TempDir)| {
            let files =
                [("/sys/class/powercap/intel-rapl:0/name", "package-0"), ("/sys/class/powercap/intel-rapl:0/energy_uj", "500")];
            let dir = unpacked(&tree(&files));
            let mut meter = EnergyMeter::find_at(Root::at(dir.path())).unwrap();
            change_it(&dir);
            assert_eq!((meter.read(), meter.read()), (None, None));
            assert_eq!(meter.lost().unwrap().reason, "the energy counter could not be read any more");
        };
        check(&|dir| change(dir, &[("/sys/class/powercap/intel-rapl:0/energy_uj", "499")]));
        check(&|dir| change(dir, &[("/sys/class/powercap/intel-rapl:0/energy_uj", "rubbish")]));
        check(&|dir| std::fs::remove_dir_all(dir.path().join("sys")).unwrap());
    }

    /// A folder in the file's place cannot be read by anybody: the tests may run as the administrator.
    fn close(dir: &tempfile::TempDir, path: &str) {
        let path = dir.path().join(path.trim_start_matches('/'));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
    }

    #[test]
    fn a_closed_counter_says_how_to_open_it() {
        for (machine, closed) in
            [(ONE, "/sys/class/powercap/intel-rapl:0/energy_uj"), (TWO, "/sys/class/powercap/intel-rapl:1/energy_uj")]
        {
            let dir = unpacked(machine);
            close(&dir, closed);
            let reason = EnergyMeter::find_at(Root::at(dir.path())).unwrap_err().reason;
            assert!(reason.starts_with("only the administrator") && reason.contains(&format!("chmod a+r {closed}")), "{reason}");
        }
    }

    const LAPTOP: [(&str, &str); 5] = [
        ("/sys/class/power_supply/AC/type", "Mains"),
        ("/sys/class/power_supply/BAT0/type", "Battery"),
        ("/sys/class/power_supply/BAT0/status", "Discharging"),
        ("/sys/class/power_supply/BAT0/current_now", "-1000000"),
        ("/sys/class/power_supply/BAT0/voltage_now", "12000000"),
    ];

    #[test]
    fn a_battery_is_read_where_the_counter_is_closed_and_its_power_is_summed_over_time() {
        let dir = unpacked(&format!("{ONE}{}", tree(&LAPTOP)));
        close(&dir, "/sys/class/powercap/intel-rapl:0/energy_uj");
        let mut meter = EnergyMeter::find_at(Root::at(dir.path())).unwrap();
        assert_eq!(meter.source_text(), "whole machine (battery discharge)");
        assert!(is_near(joules_at(&mut meter, 2.0), 24.0));
        // From 12 to 20 W within a second: 16 J.
        change(&dir, &[("/sys/class/power_supply/BAT0/power_now", "20000000")]);
        assert!(is_near(joules_at(&mut meter, 3.0), 40.0), "{meter:?}");
        change(&dir, &[("/sys/class/power_supply/BAT0/status", "Charging")]);
        assert_eq!(joules_at(&mut meter, 4.0), None);
        assert_eq!(meter.lost().unwrap().reason, "the battery stopped discharging during the measurement");
    }

    #[test]
    fn what_cannot_be_measured_has_a_reason() {
        let check = |files: &[(&str, &str)], expected: &str| {
            let dir = unpacked(&tree(files));
            assert_eq!(EnergyMeter::find_at(Root::at(dir.path())).unwrap_err().reason, expected, "{files:?}");
        };
        let nothing = "the processor shows no energy counter and the machine does not run on battery";
        let silent = "the battery does not tell how much power it delivers";
        check(&[], nothing);
        check(&[("/sys/class/powercap/intel-rapl:0/name", "psys"), ("/sys/class/powercap/intel-rapl:0/energy_uj", "1")], nothing);
        check(&[LAPTOP[0], LAPTOP[1], ("/sys/class/power_supply/BAT0/status", "Full"), LAPTOP[3], LAPTOP[4]], nothing);
        let mouse = ("/sys/class/power_supply/BAT0/scope", "Device");
        check(&[mouse, LAPTOP[1], LAPTOP[2], LAPTOP[3], LAPTOP[4]], nothing);
        check(&LAPTOP[..4], silent);
        check(&[LAPTOP[1], LAPTOP[2], ("/sys/class/power_supply/BAT0/power_now", "0")], silent);
        check(&[LAPTOP[1], LAPTOP[2], ("/sys/class/power_supply/BAT0/power_now", "NaN")], silent);
        check(&[LAPTOP[1], LAPTOP[2], ("/sys/class/power_supply/BAT0/power_now", "99999999999")], silent);
    }

    #[test]
    fn the_recorded_laptop_on_battery_tells_no_power_and_this_machine_answers() {
        let dir = unpacked(include_str!("../../tests/fixtures/hardware/intel_core_ultra_laptop.tree"));
        assert!(EnergyMeter::find_at(Root::at(dir.path())).unwrap_err().reason.contains("does not tell"));
        match EnergyMeter::find() {
            Ok(mut meter) => assert!(meter.read().is_none_or(|reading| reading.joules >= 0.0)),
            Err(missing) => assert!(!missing.reason.is_empty()),
        }
    }
}
