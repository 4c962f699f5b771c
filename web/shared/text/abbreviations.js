/**
 * The abbreviations that everybody in Vietnamese health care reads fluently.
 * What tells two hospitals apart stands at the end of their names; on a small
 * tile the beginning must not push it out.
 * @type {[RegExp, string][]}
 */
export const SITE_ABBREVIATIONS = [
  [/^bệnh viện đa khoa khu vực(?=\s)/iu, "BVĐKKV"],
  [/^bệnh viện đa khoa(?=\s)/iu, "BVĐK"],
  [/^bệnh viện trung ương(?=\s)/iu, "BVTW"],
  [/^bệnh viện(?=\s)/iu, "BV"],
  [/^trung tâm y tế khu vực(?=\s)/iu, "TTYTKV"],
  [/^trung tâm y tế(?=\s)/iu, "TTYT"],
  [/^trạm y tế(?=\s)/iu, "TYT"],
  [/^phòng khám đa khoa(?=\s)/iu, "PKĐK"],
];
