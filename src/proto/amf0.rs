//! AMF0
