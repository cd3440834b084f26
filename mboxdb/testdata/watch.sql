-- zmlift dump, format 1
-- mailbox 1234 of account 5c7e2b1a-0d1f-4a5b-9a31-1f0c3d2e4b5a in mboxgroup34
-- server {"db_version":"118","time_zone":"+01:00 +01:00 +02:00 +01:00","version":"10.1.25-MariaDB"}
-- table {"database":"mboxgroup","name":"watch","class":"wholesale","engine":"InnoDB","columns":[{"name":"mailbox_id","type":"int unsigned"},{"name":"target","type":"varchar(36)","charset":"utf8mb3","collation":"utf8mb3_general_ci"},{"name":"item_id","type":"int unsigned"}],"key":["mailbox_id","target","item_id"],"unique":["mailbox_id,target,item_id"]}
SET NAMES utf8mb4;
SET SESSION time_zone='+00:00', foreign_key_checks=0, sql_mode='STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO';
INSERT INTO `mboxgroup34`.`watch` (`mailbox_id`,`item_id`,`target`) VALUES
(1234,7,'one'),
(1234,8,'O\'Brien\nzwei');
-- Dump completed {"v":1,"tables":{"mboxgroup.watch":2},"bytes":823,"sha256":"06de507bfb55725c9a02e84976715010b3ecd012ea4882268c0eca1372b4bb18"}
