"""The currencies of ISO 4217 and how many decimal places the minor unit of each has.

Made from List One, "Current currency and funds code list", which the maintenance agency (SIX
Financial Information) publishes at iso.org and six-group.com; ``PUBLISHED`` is the date it bears.
Held here rather than read from a package, because codes leave the list and stored amounts do not:
a code that ISO withdraws after that date stays, so that nothing stored becomes unreadable with an
upgrade. A test compares the table with a package that ships the list as it is published.

Not CLDR's digits, which say how amounts are shown and differ for 15 currencies. Codes whose minor
unit is "N.A." ("no currency", testing, metals, bond units, XDR and the like) are no money and
stand in ``NO_MONEY``.
"""

PUBLISHED = "2026-01-01"

_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD
        CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP
        GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK
        LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO
        NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS
        SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST
        XAD XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

EXPONENTS = {code: places for places, codes in _BY_EXPONENT.items() for code in codes.split()}
_WITHOUT = "XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX"  # tidy: a code, nothing to do
NO_MONEY = frozenset(_WITHOUT.split())
