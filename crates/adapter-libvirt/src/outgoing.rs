//! How a migration is asked of libvirt: flags and parameters. Pure.

use drover_model::StorageCopy;
use drover_ports::OutgoingMigration;
use virt_sys as sys;

use crate::connection::{MigrateOut, Value};

/// What libvirt is asked for.
pub(crate) fn migrate_out(migration: &OutgoingMigration) -> MigrateOut {
    MigrateOut {
        peer_uri: migration.peer_uri.clone(),
        params: params(migration),
        flags: flags(migration),
    }
}

/// The same for a migration that broke after the switch to post-copy.
pub(crate) fn go_on(migration: &OutgoingMigration) -> MigrateOut {
    let mut out = migrate_out(migration);
    out.flags |= sys::VIR_MIGRATE_POSTCOPY_RESUME;
    out
}

fn flags(migration: &OutgoingMigration) -> u32 {
    let settings = &migration.settings;
    let storage = match settings.storage {
        _ if migration.disks.is_empty() => 0,
        StorageCopy::None => 0,
        StorageCopy::Full => sys::VIR_MIGRATE_NON_SHARED_DISK,
        StorageCopy::TopLayer => sys::VIR_MIGRATE_NON_SHARED_INC,
    };
    let chosen = [
        (migration.post_copy, sys::VIR_MIGRATE_POSTCOPY),
        // Under post-copy the target has to run the guest before the source is gone.
        (!migration.post_copy, sys::VIR_MIGRATE_PAUSED),
        (migration.disks_declared_shared, sys::VIR_MIGRATE_UNSAFE),
        (settings.tls == Some(true), sys::VIR_MIGRATE_TLS),
        (settings.auto_converge, sys::VIR_MIGRATE_AUTO_CONVERGE),
        (settings.parallel.is_some(), sys::VIR_MIGRATE_PARALLEL),
        (settings.compress.is_some(), sys::VIR_MIGRATE_COMPRESSED),
    ];
    let always = sys::VIR_MIGRATE_LIVE
        | sys::VIR_MIGRATE_PEER2PEER
        | sys::VIR_MIGRATE_PERSIST_DEST
        | sys::VIR_MIGRATE_UNDEFINE_SOURCE
        | sys::VIR_MIGRATE_ABORT_ON_ERROR
        | storage;
    chosen.iter().filter(|(wanted, _)| *wanted).fold(always, |all, (_, flag)| all | flag)
}

fn params(migration: &OutgoingMigration) -> Vec<(&'static std::ffi::CStr, Value)> {
    let settings = &migration.settings;
    let uri = format!("tcp://{}", bracketed(&migration.migration_address));
    let mut all = vec![(sys::VIR_MIGRATE_PARAM_URI, Value::Text(uri))];
    if let Some(bandwidth) = settings.max_bandwidth_mib_s {
        all.push((sys::VIR_MIGRATE_PARAM_BANDWIDTH, Value::Long(bandwidth)));
        if migration.post_copy {
            all.push((sys::VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY, Value::Long(bandwidth)));
        }
    }
    if let Some(connections) = settings.parallel {
        let connections = i32::try_from(connections).unwrap_or(i32::MAX);
        all.push((sys::VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS, Value::Int(connections)));
    }
    if let Some(method) = settings.compress {
        let method = method.as_str().to_owned();
        all.push((sys::VIR_MIGRATE_PARAM_COMPRESSION, Value::Text(method)));
    }
    if let (Some(true), Some(name)) = (settings.tls, &migration.tls_name) {
        all.push((sys::VIR_MIGRATE_PARAM_TLS_DESTINATION, Value::Text(name.clone())));
    }
    for disk in &migration.disks {
        all.push((sys::VIR_MIGRATE_PARAM_MIGRATE_DISKS, Value::Text(disk.disk.clone())));
    }
    all
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

#[cfg(test)]
mod tests {
    use drover_model::{Compression, GuestId, MigrationSettings};

    use super::*;

    fn migration(settings: MigrationSettings) -> OutgoingMigration {
        OutgoingMigration {
            guest: GuestId::from_u128(1),
            peer_uri: "qemu+tls://h2/system".to_owned(),
            migration_address: "fd00::2".to_owned(),
            tls_name: Some("h2".to_owned()),
            settings,
            post_copy: false,
            disks: vec![],
            disks_declared_shared: false,
        }
    }

    #[test]
    fn a_guest_arrives_paused_but_for_post_copy() {
        let plain = migration(MigrationSettings::default());
        assert_eq!(flags(&plain) & sys::VIR_MIGRATE_PAUSED, sys::VIR_MIGRATE_PAUSED);
        let post_copy = flags(&OutgoingMigration { post_copy: true, ..plain.clone() });
        assert_eq!(post_copy & sys::VIR_MIGRATE_PAUSED, 0);
        assert_eq!(post_copy & sys::VIR_MIGRATE_POSTCOPY, sys::VIR_MIGRATE_POSTCOPY);
        let again = go_on(&OutgoingMigration { post_copy: true, ..plain });
        let resume = sys::VIR_MIGRATE_POSTCOPY_RESUME;
        assert_eq!(again.flags & resume, resume);
    }

    #[test]
    fn every_option_has_its_flag_and_parameter() {
        let settings = MigrationSettings {
            max_bandwidth_mib_s: Some(7),
            tls: Some(true),
            auto_converge: true,
            parallel: Some(4),
            compress: Some(Compression::Zstd),
            ..MigrationSettings::default()
        };
        let out = migrate_out(&migration(settings));
        for flag in [
            sys::VIR_MIGRATE_TLS,
            sys::VIR_MIGRATE_AUTO_CONVERGE,
            sys::VIR_MIGRATE_PARALLEL,
            sys::VIR_MIGRATE_COMPRESSED,
        ] {
            assert_eq!(out.flags & flag, flag);
        }
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(
            out.params,
            [
                (sys::VIR_MIGRATE_PARAM_URI, text("tcp://[fd00::2]")),
                (sys::VIR_MIGRATE_PARAM_BANDWIDTH, Value::Long(7)),
                (sys::VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS, Value::Int(4)),
                (sys::VIR_MIGRATE_PARAM_COMPRESSION, text("zstd")),
                (sys::VIR_MIGRATE_PARAM_TLS_DESTINATION, text("h2")),
            ]
        );
    }
}
