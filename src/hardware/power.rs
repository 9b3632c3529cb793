//! Power source, battery and temperature on Linux, and the same from recorded words of macOS.

use super::root::Root;
use super::{Conditions, PowerSource};

/// Everything but the load, which takes time to sample.
pub(super) fn probe(root: &Root) -> Conditions {
    let supplies = supplies(root);
    Conditions {
        power_source: power_source(&supplies),
        battery_percent: battery_percent(&supplies),
        temperature_celsius: temperature(root),
        other_load: None,
    }
}

/// One entry of `/sys/class/power_supply`.
#[derive(Debug, Clone, PartialEq, Default)]
struct Supply {
    is_battery: bool,
    /// For mains: whether it delivers current.
    is_online: Option<bool>,
    /// For batteries: `Charging`, `Discharging`, `Not charging`, `Full`, `Unknown`.
    status: String,
    percent: Option<f32>,
    /// Charge and full charge in the same unit.
    charge: Option<(f32, f32)>,
}

fn supplies(root: &Root) -> Vec<Supply> {
    let read = |name: String| {
        let file = |attribute: &str| root.text(&format!("/sys/class/power_supply/{name}/{attribute}"));
        // A mouse or a headset has a battery too, of scope "Device".
        if file("scope").is_some_and(|scope| scope == "Device") {
            return None;
        }
        let number = |attribute: &str| file(attribute)?.parse::<f32>().ok().filter(|value| value.is_finite() && *value >= 0.0);
        let charge = ["energy", "charge"]
            .iter()
            .find_map(|unit| number(&format!("{unit}_now")).zip(number(&format!("{unit}_full")).filter(|full| *full > 0.0)));
        let is_battery = match file("type")?.as_str() {
            "Battery" => true,
            "Mains" | "USB" | "USB_C" | "USB_PD" | "Wireless" => false,
            _ => return None,
        };
        Some(Supply {
            is_battery,
            is_online: file("online").map(|online| online != "0"),
            status: file("status").unwrap_or_default(),
            percent: number("capacity").filter(|percent| *percent <= 100.0),
            charge,
        })
    };
    root.list("/sys/class/power_supply").into_iter().filter_map(read).collect()
}

/// A discharging battery decides, because some chargers report "online" while they deliver too little.
fn power_source(supplies: &[Supply]) -> PowerSource {
    let is_any = |status: &str| supplies.iter().any(|supply| supply.is_battery && supply.status == status);
    if is_any("Discharging") {
        PowerSource::Battery
    } else if supplies.iter().any(|supply| !supply.is_battery && supply.is_online == Some(true))
        || ["Charging", "Full", "Not charging"].iter().any(|status| is_any(status))
    {
        PowerSource::Mains
    } else if supplies.iter().any(|supply| supply.is_battery) && supplies.iter().any(|supply| supply.is_online == Some(false)) {
        PowerSource::Battery
    } else {
        PowerSource::Unknown
    }
}

/// Charge in per cent: of all batteries together where each tells its size, otherwise their mean; `None` without a battery.
#[allow(clippy::cast_precision_loss, reason = "a handful of batteries")]
fn battery_percent(supplies: &[Supply]) -> Option<f32> {
    let batteries: Vec<&Supply> = supplies.iter().filter(|supply| supply.is_battery).collect();
    if let Some(charges) = batteries.iter().map(|battery| battery.charge).collect::<Option<Vec<_>>>().filter(|all| all.len() > 1)
    {
        let (now, full) = charges.iter().fold((0.0, 0.0), |(now, full), charge| (now + charge.0, full + charge.1));
        return Some((now / full * 100.0).min(100.0));
    }
    let of_charge = |battery: &&Supply| battery.charge.map(|(now, full)| (now / full * 100.0).min(100.0));
    let percents: Vec<f32> = batteries.iter().filter_map(|battery| battery.percent.or_else(|| of_charge(battery))).collect();
    (!percents.is_empty()).then(|| percents.iter().sum::<f32>() / percents.len() as f32)
}

/// The hottest CPU sensor: hardware monitors of the processor's own driver, or else thermal zones named after it.
fn temperature(root: &Root) -> Option<f32> {
    let degrees = |path: String| root.number::<f32>(&path).map(|milli| milli / 1000.0).filter(|celsius| is_plausible(*celsius));
    let monitors = root.list("/sys/class/hwmon").into_iter().map(|name| format!("/sys/class/hwmon/{name}"));
    let drivers = ["coretemp", "k10temp", "zenpower", "cpu_thermal"];
    let monitors =
        monitors.filter(|folder| root.text(&format!("{folder}/name")).is_some_and(|name| drivers.contains(&name.as_str())));
    let inputs = monitors.flat_map(|folder| {
        let files = root.list(&folder).into_iter().filter(|file| file.starts_with("temp") && file.ends_with("_input"));
        files.map(move |file| format!("{folder}/{file}")).collect::<Vec<_>>()
    });
    hottest(inputs.filter_map(degrees)).or_else(|| {
        let zones = root.list("/sys/class/thermal").into_iter().map(|name| format!("/sys/class/thermal/{name}"));
        let zones = zones.filter(|folder| root.text(&format!("{folder}/type")).is_some_and(|kind| is_cpu_sensor(&kind)));
        hottest(zones.filter_map(|folder| degrees(format!("{folder}/temp"))))
    })
}

/// True for the label of a sensor inside the processor.
pub(super) fn is_cpu_sensor(label: &str) -> bool {
    let label = label.to_ascii_lowercase();
    ["cpu", "x86_pkg_temp", "coretemp", "k10temp", "soc-thermal", "pmu tdie"].iter().any(|name| label.contains(name))
}

/// The highest of some plausible temperatures.
pub(super) fn hottest(celsius: impl Iterator<Item = f32>) -> Option<f32> {
    celsius.filter(|value| is_plausible(*value)).reduce(f32::max)
}

/// A sensor that is switched off reports 0 or an absurd value.
fn is_plausible(celsius: f32) -> bool {
    celsius > 0.0 && celsius < 150.0
}

/// Power source and charge from the words of macOS' `pmset -g batt`.
pub(super) fn from_pmset(text: &str) -> (PowerSource, Option<f32>) {
    let source = match text {
        text if text.contains("'AC Power'") => PowerSource::Mains,
        text if text.contains("'Battery Power'") => PowerSource::Battery,
        _ => PowerSource::Unknown,
    };
    let before_sign = text.split_once('%').map_or("", |(before, _)| before);
    let digits = before_sign.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or("");
    (source, digits.parse().ok().filter(|percent| *percent <= 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn battery(status: &str, percent: f32, charge: Option<(f32, f32)>) -> Supply {
        Supply { is_battery: true, status: status.into(), percent: Some(percent), charge, ..Supply::default() }
    }

    fn mains(is_online: bool) -> Supply {
        Supply { is_online: Some(is_online), ..Supply::default() }
    }

    #[test]
    fn power_sources() {
        let check = |supplies: &[Supply], expected| assert_eq!(power_source(supplies), expected, "{supplies:?}");
        check(&[], PowerSource::Unknown);
        check(&[mains(true)], PowerSource::Mains);
        check(&[mains(false)], PowerSource::Unknown);
        check(&[mains(false), battery("Unknown", 40.0, None)], PowerSource::Battery);
        check(&[mains(true), battery("Not charging", 80.0, None)], PowerSource::Mains);
        check(&[battery("Full", 100.0, None)], PowerSource::Mains);
        check(&[mains(true), battery("Discharging", 40.0, None)], PowerSource::Battery);
        check(&[battery("Not charging", 90.0, None), battery("Discharging", 40.0, None)], PowerSource::Battery);
    }

    #[test]
    fn batteries_count_by_their_size() {
        let check = |supplies: &[Supply], expected| assert_eq!(battery_percent(supplies), expected, "{supplies:?}");
        check(&[mains(true)], None);
        check(&[battery("Full", 97.0, Some((95.0, 100.0)))], Some(97.0));
        check(&[battery("", 100.0, Some((30.0, 30.0))), battery("", 50.0, Some((35.0, 70.0)))], Some(65.0));
        check(&[battery("", 100.0, None), battery("", 50.0, Some((35.0, 70.0)))], Some(75.0));
    }

    #[test]
    fn words_of_pmset() {
        let check = |text: &str, expected| assert_eq!(from_pmset(text), expected, "{text}");
        let on_battery =
            "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=22806627)\t87%; discharging; 5:12 remaining present: true";
        check(on_battery, (PowerSource::Battery, Some(87.0)));
        check("Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t100%; charged;", (PowerSource::Mains, Some(100.0)));
        check("Now drawing from 'AC Power'", (PowerSource::Mains, None));
        check("garbage 999%", (PowerSource::Unknown, None));
        check("%", (PowerSource::Unknown, None));
    }
}
