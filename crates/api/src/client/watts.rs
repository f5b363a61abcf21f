//! Calls about what hosts draw.

use reqwest::Method;

use super::{Answer, Client, escaped};
use crate::v1;

impl Client {
    /// `GET /v1/hosts/{host}/power-curve`
    pub async fn power_curve(
        &self,
        host: &str,
        query: &v1::PowerCurveQuery,
    ) -> Answer<v1::PowerCurve> {
        let path = format!("/v1/hosts/{}/power-curve", escaped(host));
        self.answer(self.request(Method::GET, &path).query(query)).await
    }

    /// `GET /v1/power/report`
    pub async fn power_report(&self, query: &v1::PowerReportQuery) -> Answer<v1::PowerReport> {
        self.answer(self.request(Method::GET, "/v1/power/report").query(query)).await
    }
}

impl Client {
    /// `PUT /v1/policies/power-caps/{name}`
    pub async fn set_power_cap(&self, name: &str, cap: &v1::SetPowerCap) -> Answer<v1::PowerCap> {
        let path = format!("/v1/policies/power-caps/{}", escaped(name));
        self.answer(self.request(Method::PUT, &path).json(cap)).await
    }

    /// `DELETE /v1/policies/power-caps/{name}`
    pub async fn unset_power_cap(&self, name: &str) -> Answer<()> {
        self.delete(&format!("/v1/policies/power-caps/{}", escaped(name))).await
    }
}
