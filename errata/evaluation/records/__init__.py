"""Records of data sets that facts are edited and measured with. A key tells the forms apart:

    requested_rewrite   CounterFact, as the authors of ROME and MEMIT publish it; a list of them: MQuAKE
    src                 zsRE, as the authors of MEND, ROME and MEMIT publish it
    target_new          a request of EasyEdit, or a record of the data sets that come with it (KnowEdit among them)
    target              QAEdit
    update              WikiBigEdit

`forms` says what a record of each becomes, `reading` reads them and names what is wrong. Fields that neither edit nor
measure are left alone.
"""

from errata.evaluation.records.forms import Record as Record, References as References, ZsreObject as ZsreObject
from errata.evaluation.records.reading import read_records as read_records, reference_texts as reference_texts
