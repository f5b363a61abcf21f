//! Images on a peer, written through its storage driver.

use std::ffi::c_char;
use std::path::Path;

use virt_sys as sys;

use super::{
    Connection, KEEPALIVE_COUNT, KEEPALIVE_INTERVAL, c_string, last_error, start_event_loop,
};
use crate::error::LibvirtError;

/// Most bytes of one message of a stream: libvirt's own limit is 256 KiB less its header.
const MAX_CHUNK: usize = 128 << 10;

/// A stream into one image of a peer; the connection is its own.
#[derive(Debug)]
pub(crate) struct Upload {
    connection: sys::virConnectPtr,
    stream: sys::virStreamPtr,
    /// A pool that exists for this upload only.
    pool: sys::virStoragePoolPtr,
    open: bool,
}

// SAFETY: libvirt documents connections, streams and pools as usable from any thread; an
// upload is used by one at a time, by `&mut self`.
unsafe impl Send for Upload {}

impl Connection {
    /// Reads the directory of a pool anew; nothing happens where no active pool has it.
    pub(crate) fn refresh_pool(&self, directory: &str) -> Result<(), LibvirtError> {
        let path = c_string(directory)?;
        // SAFETY: the connection is open, `path` outlives the call, and the pool is given
        // back once, here.
        let error = unsafe {
            let pool = sys::virStoragePoolLookupByTargetPath(self.raw, path.as_ptr());
            if pool.is_null() {
                Some(last_error())
            } else {
                let error = (sys::virStoragePoolRefresh(pool, 0) < 0).then(last_error);
                sys::virStoragePoolFree(pool);
                error
            }
        };
        match error {
            Some(error) if error.code != sys::VIR_ERR_NO_STORAGE_POOL => Err(error),
            _ => Ok(()),
        }
    }
}

impl Upload {
    /// Opens an existing file of a directory on the peer, to be written from its beginning.
    pub(crate) fn open(peer_uri: &str, path: &str, length: u64) -> Result<Self, LibvirtError> {
        start_event_loop();
        let uri = c_string(peer_uri)?;
        // SAFETY: `uri` is a NUL-terminated string that outlives the call.
        let connection = unsafe { sys::virConnectOpen(uri.as_ptr()) };
        if connection.is_null() {
            return Err(last_error());
        }
        // SAFETY: `connection` is open.
        unsafe {
            sys::virConnectSetKeepAlive(connection, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT);
        }
        let mut upload = Self {
            connection,
            stream: std::ptr::null_mut(),
            pool: std::ptr::null_mut(),
            open: false,
        };
        upload.begin(path, length)?;
        Ok(upload)
    }

    fn begin(&mut self, path: &str, length: u64) -> Result<(), LibvirtError> {
        let (directory, name) = split(path)?;
        let pool = self.pool_of(&directory)?;
        let name = c_string(&name)?;
        // SAFETY: `pool` is a live reference that is given back here unless it is kept in
        // `self`; `name` outlives the call.
        let volume = unsafe {
            let refreshed = sys::virStoragePoolRefresh(pool, 0);
            let volume = if refreshed < 0 {
                std::ptr::null_mut()
            } else {
                sys::virStorageVolLookupByName(pool, name.as_ptr())
            };
            let error = volume.is_null().then(last_error);
            if self.pool.is_null() {
                sys::virStoragePoolFree(pool);
            }
            match error {
                Some(error) => return Err(error),
                None => volume,
            }
        };
        let flags = sys::VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM;
        // SAFETY: the connection is open; the volume is a live reference that is given back
        // once, here, when the stream knows it; the stream is given back in `drop`.
        unsafe {
            self.stream = sys::virStreamNew(self.connection, 0);
            let begun = if self.stream.is_null() {
                -1
            } else {
                sys::virStorageVolUpload(volume, self.stream, 0, length, flags)
            };
            let error = (begun < 0).then(last_error);
            sys::virStorageVolFree(volume);
            if let Some(error) = error {
                return Err(error);
            }
        }
        self.open = true;
        Ok(())
    }

    /// The pool of a directory; one is made where there is none.
    fn pool_of(&mut self, directory: &str) -> Result<sys::virStoragePoolPtr, LibvirtError> {
        let path = c_string(directory)?;
        // SAFETY: the connection is open and `path` outlives the call.
        let pool = unsafe { sys::virStoragePoolLookupByTargetPath(self.connection, path.as_ptr()) };
        if !pool.is_null() {
            return Ok(pool);
        }
        let error = last_error();
        if error.code != sys::VIR_ERR_NO_STORAGE_POOL {
            return Err(error);
        }
        let xml = c_string(&pool_xml(directory))?;
        // SAFETY: the connection is open and `xml` outlives the call.
        self.pool = unsafe { sys::virStoragePoolCreateXML(self.connection, xml.as_ptr(), 0) };
        if self.pool.is_null() { Err(last_error()) } else { Ok(self.pool) }
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), LibvirtError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let next = rest.len().min(MAX_CHUNK);
            // SAFETY: the stream is open and `rest` has `next` bytes.
            let sent =
                unsafe { sys::virStreamSend(self.stream, rest.as_ptr().cast::<c_char>(), next) };
            let sent = usize::try_from(sent).map_err(|_| last_error())?;
            rest = &rest[sent..];
        }
        Ok(())
    }

    /// Leaves a hole.
    pub(crate) fn skip(&mut self, length: u64) -> Result<(), LibvirtError> {
        let length = i64::try_from(length)
            .map_err(|_| LibvirtError::of_ours("a hole larger than any file".to_owned()))?;
        // SAFETY: the stream is open.
        let sent = unsafe { sys::virStreamSendHole(self.stream, length, 0) };
        if sent < 0 { Err(last_error()) } else { Ok(()) }
    }

    /// Ends the stream; returns when the peer has written all of it.
    pub(crate) fn finish(mut self) -> Result<(), LibvirtError> {
        self.open = false;
        // SAFETY: the stream is open, and is not used afterwards but to be freed.
        let finished = unsafe { sys::virStreamFinish(self.stream) };
        if finished < 0 { Err(last_error()) } else { Ok(()) }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // SAFETY: each is null or a live reference of ours, given back once, here. A pool
        // that another upload uses by now refuses to end and is left to that one.
        unsafe {
            if !self.stream.is_null() {
                if self.open {
                    sys::virStreamAbort(self.stream);
                }
                sys::virStreamFree(self.stream);
            }
            if !self.pool.is_null() {
                sys::virStoragePoolDestroy(self.pool);
                sys::virStoragePoolFree(self.pool);
            }
            sys::virConnectClose(self.connection);
        }
    }
}

fn split(path: &str) -> Result<(String, String), LibvirtError> {
    let directory = Path::new(path).parent().and_then(Path::to_str);
    let name = Path::new(path).file_name().and_then(std::ffi::OsStr::to_str);
    match (directory, name) {
        (Some(directory), Some(name)) => Ok((directory.to_owned(), name.to_owned())),
        _ => Err(LibvirtError::of_ours(format!("`{path}` names no file"))),
    }
}

/// A directory pool without a definition: it is gone with libvirtd or when it is ended.
fn pool_xml(directory: &str) -> String {
    let name: String =
        directory.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let mut path = String::new();
    for character in directory.chars() {
        match character {
            '&' => path.push_str("&amp;"),
            '<' => path.push_str("&lt;"),
            other => path.push(other),
        }
    }
    format!("<pool type='dir'><name>drover{name}</name><target><path>{path}</path></target></pool>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_directory_and_a_name() {
        assert_eq!(split("/a/b/c.img").unwrap(), ("/a/b".to_owned(), "c.img".to_owned()));
        assert!(split("/").is_err());
        let xml = pool_xml("/a&b/c");
        assert!(xml.contains("<name>drover-a-b-c</name>") && xml.contains("/a&amp;b/c<"), "{xml}");
    }
}
