//! Times of the week in which hosts may be parked, or must be awake.

use std::fmt;
use std::str::FromStr;

use drover_model::Timestamp;
use serde::{Deserialize, Serialize};

const DAY_MIN: i64 = 24 * 60;
const WEEK_MIN: i64 = 7 * DAY_MIN;
/// 1970-01-01 was a Thursday: so many minutes after the Monday before.
const EPOCH_MIN: i64 = 3 * DAY_MIN;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const EVERY_DAY: u8 = 0b111_1111;

/// What a window asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Hosts may be parked; where there is such a window, at no other time.
    MayPark,
    /// At least so many hosts are awake; none: all.
    Awake(Option<u32>),
}

/// A stretch of the day on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Window {
    /// What it asks for.
    pub ask: Ask,
    /// The days on which it begins: bit 0 is Monday.
    pub days: u8,
    /// Minute of the day at which it begins.
    pub from: u16,
    /// Minute of the day at which it ends; up to `from` it is the next day's.
    pub to: u16,
}

/// Not a window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no window: write `park mon-fri 19:00-06:30`, `awake daily 07:30-18:00 4` or \
     `awake sat,sun 08:00-12:00 all`"
)]
pub struct ScheduleError(pub String);

impl Window {
    /// Whether the moment lies in it, by a clock so many seconds ahead of UTC.
    pub fn holds(&self, at: Timestamp, utc_offset_s: i32) -> bool {
        let minute = at.as_millis().div_euclid(60_000) + i64::from(utc_offset_s).div_euclid(60);
        let minute = (minute + EPOCH_MIN).rem_euclid(WEEK_MIN);
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        let length = if to > from { to - from } else { to + DAY_MIN - from };
        (0..7).filter(|day| self.days & (1 << day) != 0).any(|day| {
            let passed = (minute - (day * DAY_MIN + from)).rem_euclid(WEEK_MIN);
            passed < length
        })
    }
}

/// Whether the schedule lets hosts be parked.
pub(super) fn may_park(windows: &[Window], at: Timestamp, utc_offset_s: i32) -> bool {
    let mut of = windows.iter().filter(|window| window.ask == Ask::MayPark).peekable();
    of.peek().is_none() || of.any(|window| window.holds(at, utc_offset_s))
}

/// How many of `hosts` the schedule wants awake.
pub(super) fn awake(windows: &[Window], at: Timestamp, utc_offset_s: i32, hosts: usize) -> usize {
    let wanted = windows.iter().filter_map(|window| match window.ask {
        Ask::Awake(wanted) if window.holds(at, utc_offset_s) => {
            Some(wanted.map_or(hosts, |wanted| wanted as usize))
        }
        _ => None,
    });
    wanted.max().unwrap_or(0).min(hosts)
}

impl FromStr for Window {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        parse(text).ok_or_else(|| ScheduleError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Window> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (ask, days, times) = match words.as_slice() {
        ["park", days, times] => (Ask::MayPark, days, times),
        ["awake", days, times, "all"] => (Ask::Awake(None), days, times),
        ["awake", days, times, hosts] => (Ask::Awake(Some(hosts.parse().ok()?)), days, times),
        _ => return None,
    };
    let (from, to) = times.split_once('-')?;
    Some(Window { ask, days: parse_days(days)?, from: parse_time(from)?, to: parse_time(to)? })
}

fn parse_days(text: &str) -> Option<u8> {
    let number = |name: &str| DAYS.iter().position(|day| *day == name);
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None if part == "daily" => (0, 6),
            None => (number(part)?, number(part)?),
        };
        // `sat-mon` goes over the end of the week.
        for step in 0..=(last + 7 - first) % 7 {
            days |= 1 << ((first + step) % 7);
        }
    }
    Some(days)
}

fn parse_time(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (two(hour)?, two(minute)?);
    let whole = hour * 60 + minute;
    (minute < 60 && i64::from(whole) <= DAY_MIN).then_some(whole)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = if self.days & EVERY_DAY == EVERY_DAY {
            "daily".to_owned()
        } else {
            let named = DAYS.iter().enumerate().filter(|(day, _)| self.days & (1 << day) != 0);
            named.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
        };
        let word = if self.ask == Ask::MayPark { "park" } else { "awake" };
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{word} {days} {}-{}", time(self.from), time(self.to))?;
        match self.ask {
            Ask::MayPark => Ok(()),
            Ask::Awake(None) => f.write_str(" all"),
            Ask::Awake(Some(hosts)) => write!(f, " {hosts}"),
        }
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

impl TryFrom<String> for Window {
    type Error = ScheduleError;
    fn try_from(text: String) -> Result<Self, ScheduleError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment of the first week of 2001: Monday is the first.
    fn at(day: i64, hour: i64, minute: i64) -> Timestamp {
        const MONDAY: i64 = 978_307_200_000;
        Timestamp::from_millis(MONDAY + ((day * 24 + hour) * 60 + minute) * 60_000)
    }

    #[test]
    fn a_window_that_passes_midnight_belongs_to_the_day_on_which_it_begins() {
        let night: Window = "park mon-fri 19:00-06:30".parse().unwrap();
        assert!(night.holds(at(0, 19, 0), 0) && night.holds(at(1, 6, 29), 0));
        assert!(!night.holds(at(0, 6, 0), 0), "Sunday evening does not begin one");
        assert!(night.holds(at(5, 6, 0), 0), "Friday's ends on Saturday");
        assert!(!night.holds(at(1, 6, 30), 0));
        assert!(night.holds(at(0, 18, 0), 3600), "an hour ahead of UTC");
    }

    #[test]
    fn the_schedule_says_how_many_are_awake_and_when_parking_is_allowed() {
        let windows: Vec<Window> = ["awake daily 08:00-18:00 4", "awake sat,sun 09:00-10:00 all"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert_eq!(awake(&windows, at(0, 7, 59), 0, 9), 0);
        assert_eq!(awake(&windows, at(0, 8, 0), 0, 9), 4);
        assert_eq!(awake(&windows, at(0, 8, 0), 0, 3), 3);
        assert_eq!(awake(&windows, at(6, 9, 0), 0, 9), 9);
        assert!(may_park(&windows, at(0, 8, 0), 0), "nothing says when");
        let night: Vec<Window> = vec!["park daily 20:00-06:00".parse().unwrap()];
        assert!(may_park(&night, at(0, 5, 0), 0) && !may_park(&night, at(0, 12, 0), 0));
    }

    #[test]
    fn text_is_read_back_as_it_is_shown() {
        for text in [
            "park mon,tue,wed,thu,fri 19:00-06:30",
            "awake daily 00:00-24:00 12",
            "awake sun 07:05-08:00 all",
        ] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        let over: Window = "park sat-mon 01:00-02:00".parse().unwrap();
        assert_eq!(over.to_string(), "park mon,sat,sun 01:00-02:00");
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for bad in [
            "",
            "park",
            "park daily",
            "park daily 19:00",
            "park daily 25:00-26:00",
            "park daily 19:60-20:00",
            "park day 19:00-20:00",
            "awake daily 19:00-20:00",
            "awake daily 19:00-20:00 -1",
            "park daily 19:00-20:00 4",
            "park daily 9:00-10:00",
            "park , 19:00-20:00",
        ] {
            assert!(bad.parse::<Window>().is_err(), "{bad}");
        }
    }
}
