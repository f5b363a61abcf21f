//! libvirt's typed parameters.

use std::collections::BTreeMap;
use std::ffi::CStr;

use virt_sys as sys;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Param {
    /// Any of libvirt's integers; a negative one becomes 0.
    Number(u64),
    /// Double.
    Real(f64),
    /// String.
    Text(String),
}

/// Values by name.
pub(crate) type Params = BTreeMap<String, Param>;

/// Copies parameters that stay libvirt's.
///
/// # Safety
/// `params` points to `count` parameters.
pub(super) unsafe fn copy(params: sys::virTypedParameterPtr, count: i32) -> Params {
    let count = usize::try_from(count).unwrap_or_default();
    let mut all = Params::new();
    for index in 0..count {
        // SAFETY: the caller vouches for `count` parameters; names are NUL-terminated and
        // the union is read by its tag.
        unsafe {
            let param = &*params.add(index);
            let name = CStr::from_ptr(param.field.as_ptr()).to_string_lossy().into_owned();
            let number = |value: i64| Param::Number(u64::try_from(value).unwrap_or_default());
            let value = match u32::try_from(param.type_).unwrap_or_default() {
                sys::VIR_TYPED_PARAM_INT => number(i64::from(param.value.i)),
                sys::VIR_TYPED_PARAM_UINT => Param::Number(u64::from(param.value.ui)),
                sys::VIR_TYPED_PARAM_LLONG => number(param.value.l),
                sys::VIR_TYPED_PARAM_ULLONG => Param::Number(param.value.ul),
                sys::VIR_TYPED_PARAM_DOUBLE => Param::Real(param.value.d),
                sys::VIR_TYPED_PARAM_BOOLEAN => number(i64::from(param.value.b)),
                sys::VIR_TYPED_PARAM_STRING => {
                    Param::Text(super::copy_string(param.value.s).unwrap_or_default())
                }
                _ => continue,
            };
            all.insert(name, value);
        }
    }
    all
}
